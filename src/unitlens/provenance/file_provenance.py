"""The provenance of a file: the step, settings, code and inputs that its content comes from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from unitlens.provenance.earlier_code import is_as_good

WEIGHTS, DATASET = "weights", "dataset"
_WORDS = {WEIGHTS: "network", DATASET: "data set"}


@dataclass(frozen=True)
class FileProvenance:
    """What the content of a file was computed from.

    Attributes
    ----------
    step
        Name of the subcommand, such as ``unit_ablation``.
    settings
        The settings that determine the content, as plain values.
    code
        Digest of the code of the step; empty where a person called it by hand.
    inputs
        Name of each input to its hash: ``weights`` of the network, ``dataset`` (content hash of
        the prepared data set), and files by their paths in the directory of the network.
    """

    step: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)

    def to_values(self) -> dict[str, Any]:
        """Return the provenance as plain values, as files hold it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "FileProvenance | None":
        """Return the provenance of plain values, None where they state none."""
        try:
            return cls(**values)
        except TypeError:
            return None

    def find_difference(self, expected: "FileProvenance") -> str | None:
        """Return the first respect in which a file differs from what is expected, in words.

        Parameters
        ----------
        expected
            The provenance that a new file would have. Inputs and a code that it does not state
            are not compared. Code of an earlier version may be as good
            (:mod:`unitlens.provenance.earlier_code`).

        Returns
        -------
        None where nothing differs.

        Examples
        --------
        >>> old = FileProvenance("unit_ablation", {"value": "zero"}, "1f", {"weights": "a0"})
        >>> old.find_difference(FileProvenance("unit_ablation", {"value": "mean"}, "1f"))
        "value was 'zero', is 'mean'"
        """
        for key in dict.fromkeys((*self.settings, *expected.settings)):
            was, now = self.settings.get(key), expected.settings.get(key)
            if was != now:
                return f"{key} was {was!r}, is {now!r}"
        for name, digest in expected.inputs.items():
            if self.inputs.get(name) != digest:
                return f"it was computed from another {_WORDS.get(name, name)}"
        if self.step != expected.step:
            return f"it is of the step {self.step}, not {expected.step}"
        if expected.code and not is_as_good(self.step, self.code, expected.code):
            return "the code of the step has changed"
        return None
