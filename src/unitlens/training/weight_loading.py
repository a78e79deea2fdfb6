"""Loading weights into networks, without what wrappers put before the names of tensors."""

import copy
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from unitlens.errors import ModelError, nearest
from unitlens.extras import naming_extras
from unitlens.model.layers import listed
from unitlens.model.wrapped_modules import plain_modules, unwrap
from unitlens.training.weight_files import WeightsFile, named_under

Model = TypeVar("Model", bound=nn.Module)
# Tensors that wrappers of a network have beside the network: the count of averaged models.
_OF_WRAPPERS = ("n_averaged",)


@naming_extras()
def load_weights(model: Model, path: str | os.PathLike[str], *, key: str | None = None) -> Model:
    """Load the weights of a file into a network.

    Every tensor of the network must be in the file, with its shape, and no other one. Prefixes
    that wrappers have put before all names (``module.``, ``_orig_mod.``, ``model.``) are taken
    off. Code in the file is never run.

    Parameters
    ----------
    model
        The network. Its weights are replaced; where the file is refused, they stay as they are.
    path
        A ``.safetensors`` file (which needs the package safetensors); a file of ``torch.save``
        that holds a state dict; or a checkpoint, a dictionary that holds a state dict under
        ``state_dict`` or a single state dict under any key.
    key
        Key of the state dict in a checkpoint that holds several, such as ``"ema"``; of nested keys
        with dots between. Or the beginning of the names of the network's tensors where the file
        has tensors of other networks too: ``"net"`` reads ``net.0.weight`` as ``0.weight``. None:
        the only state dict, with all its tensors.

    Returns
    -------
    The network `model`.

    Raises
    ------
    ModelError
        Where the file is missing, damaged or holds more than tensors; where it holds several state
        dicts and `key` chooses none; where a tensor is missing, unexpected, of another shape, or
        of integers for a weight of floating point.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> import unitlens as ul
    >>> trained, model = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"epoch": 3, "model": trained.state_dict()}, f"{folder}/checkpoint.pt")
    ...     model = ul.load_weights(model, f"{folder}/checkpoint.pt")
    >>> torch.equal(model.weight, trained.weight)
    True
    """
    network = unwrap(model)
    weights = WeightsFile(Path(path), key).read()
    same_names = weights.keys() == network.state_dict().keys()  # of wrapped modules inside, too
    with nullcontext() if same_names else plain_modules(network):
        before = copy.deepcopy(network.state_dict())
        try:
            fit_weights(network, weights, source=f"'{path}'", key_name="key")
        except Exception:
            network.load_state_dict(before)
            raise
    return model


def fit_weights(
    model: nn.Module, weights: Mapping[str, Tensor], *, source: str, key_name: str
) -> None:
    """Load weights into a network; where they are refused, some may be loaded.

    Parameters
    ----------
    model
        The network.
    weights
        Name to tensor. Of tensors that share memory, one is enough. Prefixes that wrappers of the
        network have put before all names are taken off.
    source
        Name of the weights, for the messages of errors.
    key_name
        What the user calls the key of weights in a file, for the messages of errors.

    Raises
    ------
    ModelError
        Where a tensor is missing, unexpected or of another shape, or of integers for a weight of
        floating point. The message names up to three.
    """
    weights = without_prefix(weights, model.state_dict())
    refused = f"the weights {source} do not fit the network"
    tensors = model.state_dict()
    _refuse_integers(weights, tensors, refused)
    try:
        mismatch = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"{refused}: {reason}; build the network with the arguments of the one that was saved "
            "(num_classes, say)"
        ) from error
    tensors = model.state_dict()
    loaded = {tensors[name].data_ptr() for name in tensors if name in weights}
    missing = [name for name in mismatch.missing_keys if tensors[name].data_ptr() not in loaded]
    for verb, names, others in (
        ("lack", missing, weights),
        ("also hold", mismatch.unexpected_keys, tensors),
    ):
        if names:
            hint = _choosing(weights, tensors, key_name) or nearest(names[0], others)
            raise ModelError(f"{refused}: they {verb} {listed(names, most=3)}; {hint}")


def without_prefix(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return weights without what a wrapper of the network has put before their names.

    A prefix is taken off where all names begin with it and, without it, are names of the network.
    The name ``_orig_mod`` of compiled modules is taken out wherever it stands. The count
    ``n_averaged`` of averaged models is left out.

    Parameters
    ----------
    weights
        Name to tensor.
    expected
        The state dict of the network.

    Examples
    --------
    >>> import torch
    >>> weights = {"module.0.weight": torch.zeros(1), "module.0.bias": torch.zeros(1)}
    >>> list(without_prefix(weights, {"0.weight": torch.zeros(1), "0.bias": torch.zeros(1)}))
    ['0.weight', '0.bias']
    """
    if not any("_orig_mod." in name for name in expected):
        weights = {name.replace("_orig_mod.", ""): tensor for name, tensor in weights.items()}
    if not weights or not expected.keys().isdisjoint(weights):
        return weights
    own = {name: tensor for name, tensor in weights.items() if name not in _OF_WRAPPERS}
    for prefix in _prefixes(next(iter(own), "")):
        begun = named_under(own, prefix)
        if len(begun) == len(own) and begun.keys() <= expected.keys():
            return begun
    return weights


def _choosing(weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], key_name: str) -> str:
    """Return which keys choose the tensors of a network among others; empty where none does."""
    prefixes = dict.fromkeys(prefix for name in weights for prefix in _prefixes(name))
    names = tensors.keys()
    fit = [repr(prefix) for prefix in prefixes if named_under(weights, prefix).keys() == names]
    return f"{key_name} = {' or '.join(fit[:3])} chooses those that fit" if fit else ""


def _prefixes(name: str) -> list[str]:
    """Return what stands before each dot of a name."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _refuse_integers(
    weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], refused: str
) -> None:
    """Refuse integers for weights of floating point: quantised weights without their scales."""
    for name, tensor in weights.items():
        own = tensors.get(name)
        if own is not None and own.is_floating_point() and not tensor.is_floating_point():
            raise ModelError(
                f"{refused}: {name} is of {tensor.dtype}, but of {own.dtype} in the network; save "
                "weights that are not quantised"
            )
