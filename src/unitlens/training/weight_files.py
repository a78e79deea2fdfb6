"""Weights files: safetensors, or a state dict of torch.save that loads without running code."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unitlens.errors import ModelError, first_line

REMEDY = (
    "save the state dict: safetensors.torch.save_model(model, 'weights.safetensors'), or "
    "torch.save(model.state_dict(), 'weights.pt')"
)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a weights file.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or a file of ``torch.save`` that holds a state dict or a
        dictionary with a state dict under the key ``state_dict``.

    Returns
    -------
    Name to tensor, on the CPU.

    Raises
    ------
    ModelError
        Where the file is missing, damaged, or holds anything but tensors (loading a pickled model
        would run its code).
    """
    if not path.is_file():
        raise ModelError(
            f"model.weights = '{path}': there is no such file; relative paths are relative to the "
            "current directory"
        )
    if path.suffix == ".safetensors":
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
    return _state_dict(content, path)


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


def _state_dict(content: Any, path: Path) -> Mapping[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
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
