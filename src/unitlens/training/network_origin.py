"""What a network is made from, so that a finished network is told from one that must be trained."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from unitlens.config.networks import RunSpec
from unitlens.provenance.user_source import user_modules
from unitlens.training.checkpoints import CheckpointRecord

# Digests of the rule `train` in unitlens 0.2, whose networks have the numbers of today.
EARLIER_CODE = ("a3dc1e485bf0",)
# Parts of an origin in the words of a log line.
WORDS = {
    "specification": "its specification",
    "train_set": "the training set",
    "test_set": "the test set",
    "first_weights": "the weights that it starts from",
    "code": "the code of the training",
    "user_code": "the code of the user's function",
}


class NetworkOrigin:
    """The hashes of everything that a network is made from.

    Parameters
    ----------
    spec
        The run.
    train_set, test_set
        Identities of both splits of the data set.
    first_weights
        Hash of the weights that the training starts from.
    code
        Digest of the code that trains.
    user_code
        Digest of the user's code that builds the network.

    Attributes
    ----------
    parts
        Each part of the origin to its hash, by the names of :data:`WORDS`.
    """

    def __init__(
        self,
        spec: RunSpec,
        train_set: str,
        test_set: str,
        *,
        first_weights: str,
        code: str = "",
        user_code: str = "",
    ) -> None:
        self._spec = spec
        self.parts: dict[str, str] = {
            "specification": hash_texts(specification(spec)),
            "train_set": train_set,
            "test_set": test_set,
            "first_weights": first_weights,
            "code": code,
            "user_code": user_code,
        }

    def find_difference(self, record: CheckpointRecord) -> str | None:
        """Return in what the origin of a recorded network differs, in words; None where it is this.

        Parameters
        ----------
        record
            Record of the network, of this version of unitlens or of an earlier one.
        """
        if record.origin_parts:
            return self._differing_part(record.origin_parts)
        if record.origin:
            return None if record.origin in self._former_origins() else "what it was made from"
        if specification(record.spec) != specification(self._spec):
            return WORDS["specification"]
        if record.dataset_identity != self.parts["train_set"]:
            return WORDS["train_set"]
        taken = self._spec.training is None and record.weights_hash == self.parts["first_weights"]
        # Such a record does not tell the first weights: only random ones are known.
        random = self._spec.training is not None and not getattr(self._spec.model, "weights", None)
        return None if taken or random else WORDS["first_weights"]

    def _differing_part(self, stated: Mapping[str, str]) -> str | None:
        for part, value in self.parts.items():
            if stated.get(part) != value:
                return WORDS[part]
        return None

    def _former_origins(self) -> list[str]:
        """Return the hashes by which unitlens 0.2 recorded this origin."""
        of_spec = specification(self._spec)
        data = self.parts["train_set"], self.parts["test_set"]
        user = _former_user_digest(self._spec.model.name)
        return [
            hash_texts(of_spec, *data, self.parts["first_weights"], f"{code}{user}")
            for code in EARLIER_CODE
        ]


def specification(spec: RunSpec) -> str:
    """Return a specification as JSON, without kept epochs and files, which change no weights."""
    return spec.model_dump_json(exclude={"training": {"checkpoints"}, "dataset": {"files"}})


def specification_values(spec: RunSpec) -> dict[str, Any]:
    """Return the plain values of :func:`specification`."""
    values: dict[str, Any] = json.loads(specification(spec))
    return values


def hash_texts(*texts: str) -> str:
    """Return the SHA-256 of texts, one a line."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _former_user_digest(function: str) -> str:
    """Return the digest of the one file of a user's function, as unitlens 0.2 computed it."""
    module, colon, _ = function.partition(":")
    files = dict(user_modules(module)) if colon else {}
    if module not in files:
        return ""
    return hashlib.sha256(files[module].read_bytes()).hexdigest()[:12]
