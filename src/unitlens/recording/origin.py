"""What a recording comes from: the identity of a model's weights and of a data set."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unitlens.data.batches import iterate_batches
from unitlens.errors import ArgumentError

PROBES = 16


def complete_provenance(model: nn.Module, dataset: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the activations come from, with what `given` does not say.

    Parameters
    ----------
    model
        The model.
    dataset
        Its map-style data set.
    given
        What is known already.

    Returns
    -------
    `given`, and ``weights_hash`` and ``dataset_identity`` where it lacks them. The identity of a
    data set is its own attribute ``identity``, or a hash of its tensors (a TensorDataset), or of
    its length and of a few samples.

    Raises
    ------
    ArgumentError
        Where `given` holds something that JSON cannot.
    """
    try:
        json.dumps(dict(given))
    except TypeError as error:
        raise ArgumentError(
            f"provenance cannot be stored ({error}); give text, numbers, lists and dictionaries"
        ) from None
    compute: dict[str, Callable[[], str]] = {
        "weights_hash": lambda: _weights_hash(model),
        "dataset_identity": lambda: _dataset_identity(dataset),
    }
    missing = {name: how() for name, how in compute.items() if name not in given}
    return {**missing, **given}


def _weights_hash(model: nn.Module) -> str:
    """Hash the kinds of a model's modules, and its parameters and buffers."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        digest.update(f"{name} {type(module).__qualname__}\n".encode())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            _update(digest, tensor)
    return digest.hexdigest()


def _dataset_identity(dataset: Any) -> str:
    """Return the data set's own identity, or a hash of its tensors or of samples all over it."""
    own = getattr(dataset, "identity", None)
    if isinstance(own, str):
        return own
    samples = len(dataset)
    digest = hashlib.sha256(f"{type(dataset).__qualname__} {samples}".encode())
    if isinstance(dataset, TensorDataset):
        for tensor in dataset.tensors:
            _update(digest, tensor)
        return digest.hexdigest()
    rows = np.unique(np.linspace(0, samples - 1, min(samples, PROBES)).astype(np.int64))
    for _, inputs, labels in iterate_batches(dataset, PROBES, indices=rows):
        _update(digest, inputs)
        _update(digest, labels)
    return digest.hexdigest()


def _update(digest: Any, tensor: Tensor) -> None:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(raw.numpy().data)
