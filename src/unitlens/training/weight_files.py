"""Weights files: safetensors, or a state dict of torch.save that loads without running code."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unitlens.errors import ModelError, first_line, nearest

REMEDY = (
    "save the state dict: safetensors.torch.save_model(model, 'weights.safetensors'), or "
    "torch.save(model.state_dict(), 'weights.pt')"
)


def read_weights(path: Path, key: str | None = None) -> Mapping[str, Tensor]:
    """Read the tensors of a weights file.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or a file of ``torch.save`` that holds a state dict, or a
        dictionary with a state dict under ``state_dict`` or with a single state dict.
    key
        Key of the state dict in a dictionary that holds more; of nested keys with dots between.

    Returns
    -------
    Name to tensor, on the CPU.

    Raises
    ------
    ModelError
        Where the file is missing, damaged, holds anything but tensors (loading a pickled model
        would run its code), or holds several state dicts and `key` chooses none.
    """
    if not path.is_file():
        raise ModelError(
            f"model.weights = '{path}': there is no such file; relative paths are relative to the "
            "current directory"
        )
    if path.suffix == ".safetensors":
        if key is not None:
            raise ModelError(
                f"model.weights_key = {key!r}: '{path}' is a safetensors file, which holds tensors "
                "alone; remove weights_key"
            )
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"model.weights = '{path}' is refused: it holds more than tensors (a whole pickled "
            f"model?), and loading it would run code from the file; {REMEDY}"
        ) from error
    except Exception as error:  # of any class where the file is damaged
        raise ModelError(
            f"model.weights = '{path}' is refused: it is damaged, or no state dict of torch.save "
            f"({first_line(error)}); {REMEDY}"
        ) from error
    return _state_dict(_inner(content, path) if key is None else _at(content, key, path), path)


def without_prefix(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return weights without what a wrapper of the network has put before their names.

    A prefix is taken off where all names begin with it and, without it, are names of the network.
    The name ``_orig_mod`` of compiled modules is taken out wherever it stands.

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
    parts = next(iter(weights)).split(".")
    for end in range(1, len(parts)):
        prefix = ".".join(parts[:end]) + "."
        own = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
        if own.keys() <= expected.keys() and all(name.startswith(prefix) for name in weights):
            return own
    return weights


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Mapping[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"model.weights = '{path}' is damaged or no safetensors file: {first_line(error)}; "
            f"{REMEDY}"
        ) from error
    return tensors


def _inner(content: Any, path: Path) -> Any:
    """Return the state dict inside a dictionary that holds more, or the content as it is."""
    if not isinstance(content, Mapping):
        return content
    if isinstance(content.get("state_dict"), Mapping):
        return content["state_dict"]
    inner = [key for key, value in content.items() if _is_state_dict(value)]
    if len(inner) > 1:
        raise ModelError(
            f"model.weights = '{path}' is refused: it holds {len(inner)} state dicts, under "
            f"{', '.join(map(repr, inner))}; choose one by model.weights_key"
        )
    return content[inner[0]] if inner else content


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(of, Tensor) for name, of in value.items())
    )


def _at(content: Any, key: str, path: Path) -> Any:
    """Return the entry at a key of a weights file, or at keys with dots between."""
    if isinstance(content, Mapping) and key in content:
        return content[key]
    first, dot, rest = key.partition(".")
    if dot and isinstance(content, Mapping) and first in content:
        return _at(content[first], rest, path)
    held = [str(name) for name in content] if isinstance(content, Mapping) else []
    raise ModelError(f"model.weights_key = {key!r} is no key in '{path}'; {nearest(key, held)}")


def _state_dict(content: Any, path: Path) -> Mapping[str, Tensor]:
    if not isinstance(content, Mapping):
        raise ModelError(
            f"model.weights = '{path}' is refused: it holds a {type(content).__name__}, not a "
            f"state dict; {REMEDY}"
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(
                f"model.weights = '{path}' is refused: its item {name!r} is a "
                f"{type(value).__name__}, not a tensor; {REMEDY}"
            )
    return content
