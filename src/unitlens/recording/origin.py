"""The origin of a recording: the identity of a model and of a data set."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unitlens.data.batches import iterate_batches
from unitlens.data.map_style import probe_rows
from unitlens.data.samples import Samples, open_samples
from unitlens.errors import ArgumentError
from unitlens.model.inputs import tensors_in
from unitlens.model.weights import modules_hash, weights_hash
from unitlens.model.wrapped_modules import plain_modules, unwrap
from unitlens.provenance.earlier_code import is_as_good

FORMER_PROBES = 16
BATCH = 16
CODE = "code"  # entry of a store's provenance: the digest of the code that recorded it
# Entries that identify a model and a data set, and what each identifies.
IDENTITIES = {"weights_hash": "weights", "modules_hash": "modules", "dataset_identity": "data"}


class Origin:
    """The origin of a recording, as its provenance states it.

    A provenance identifies the model by ``weights_hash`` and ``modules_hash``
    (:mod:`unitlens.model.weights`), and the data set by ``dataset_identity``: the data set's
    attribute ``identity``, or a hash of the tensors of a TensorDataset, or a hash of the length and
    of 64 samples of any other data set (:func:`unitlens.recording.all_labels.probe_rows`). Where
    the caller gives ``weights_hash``, as the workflow does, ``modules_hash`` is not added.

    Parameters
    ----------
    model
        The model.
    dataset
        The data set, or its samples.
    given
        Entries of the provenance that the caller gives.

    Attributes
    ----------
    provenance
        The entries that are given, and the identities that are not given.

    Raises
    ------
    ArgumentError
        Where `given` holds a value that JSON cannot hold.
    """

    def __init__(self, model: nn.Module, dataset: Any, given: Mapping[str, Any]) -> None:
        try:
            self._given: dict[str, Any] = json.loads(json.dumps(dict(given)))
        except TypeError as error:
            raise ArgumentError(
                f"provenance cannot be stored ({error}); give text, numbers, lists and dictionaries"
            ) from None
        self._model = unwrap(model)
        with plain_modules(self._model):
            self._modules_hash = modules_hash(self._model)
            own_weights = "" if "weights_hash" in given else weights_hash(self._model)
        self._samples = open_samples(dataset)
        provenance: dict[str, Any] = {}
        if "weights_hash" not in given:
            provenance["weights_hash"] = own_weights
            provenance["modules_hash"] = self._modules_hash
        if "dataset_identity" not in given:
            provenance["dataset_identity"] = _dataset_identity(
                self._samples, probe_rows(len(self._samples))
            )
        self.provenance = {**provenance, **self._given}

    def matches(self, stored: Mapping[str, Any]) -> bool:
        """Tell whether a store's provenance states this origin.

        Entries other than identities must be equal; the digest of the code may be one that is as
        good. ``modules_hash`` is compared where the store has this entry.
        """
        others = [
            {n: value for n, value in provenance.items() if n not in IDENTITIES and n != CODE}
            for provenance in (stored, self.provenance)
        ]
        codes = (str(provenance.get(CODE, "")) for provenance in (stored, self.provenance))
        is_same = others[0] == others[1] and is_as_good("record_activations", *codes)
        return is_same and self.find_difference(stored) is None

    def find_difference(self, stored: Mapping[str, Any]) -> str | None:
        """Return the first identity in which a store's provenance differs, None where none does."""
        for name in IDENTITIES:
            if not self._agrees(name, stored):
                return name
        return None

    def stated(self, name: str) -> Any:
        """Return the value of an identity."""
        return self.provenance.get(name, self._modules_hash)

    def _agrees(self, name: str, stored: Mapping[str, Any]) -> bool:
        if name == "modules_hash" and name not in stored:
            return True
        if stored.get(name) == self.stated(name):
            return True
        if name in self._given:
            return False
        if name == "dataset_identity":
            return stored.get(name) == self._former_identity
        may_be_former = name == "weights_hash" and "modules_hash" not in stored
        return may_be_former and stored.get(name) == _former_weights_hash(self._model)

    @cached_property
    def _former_identity(self) -> str:
        """The identity of the data set in stores of unitlens before 0.3."""
        last = len(self._samples) - 1
        rows = np.unique(np.linspace(0, last, min(last + 1, FORMER_PROBES)).astype(np.int64))
        return _dataset_identity(self._samples, rows)


def _former_weights_hash(model: nn.Module) -> str:
    """Return the ``weights_hash`` of stores that were recorded before there was ``modules_hash``.

    This hash covers the classes of modules, too. It only serves to recognise such stores.
    """
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        digest.update(f"{name} {type(module).__qualname__}\n".encode())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            _update(digest, tensor)
    return digest.hexdigest()


def _dataset_identity(samples: Samples, rows: NDArray[np.int64]) -> str:
    """Return the data set's own identity, or a hash of its tensors, or of some samples."""
    dataset, form = samples.dataset, samples.form
    read = f" {form.target!r} {form.ignore_index!r}"
    chosen = "" if read == " None None" else read
    own = getattr(dataset, "identity", None)
    if isinstance(own, str):
        return own + chosen
    digest = hashlib.sha256(f"{type(dataset).__qualname__} {len(dataset)}{chosen}".encode())
    if isinstance(dataset, TensorDataset):
        for tensor in dataset.tensors:
            _update(digest, tensor)
        return digest.hexdigest()
    for _, inputs, labels in iterate_batches(samples, BATCH, indices=rows, targets=samples.kind):
        for tensor in tensors_in(inputs):
            _update(digest, tensor)
        _update(digest, labels)
    return digest.hexdigest()


def _update(digest: Any, tensor: Tensor) -> None:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(raw.numpy().data)
