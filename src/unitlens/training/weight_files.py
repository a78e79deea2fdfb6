"""Weights files: safetensors, or a state dict of torch.save that loads without running code."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unitlens.errors import ModelError, first_line, nearest

REMEDY = (
    "save the state dict: safetensors.torch.save_model(model, 'weights.safetensors'), or "
    "torch.save(model.state_dict(), 'weights.pt')"
)


@dataclass(frozen=True)
class WeightsFile:
    """A weights file, and the place of the weights in the file.

    Attributes
    ----------
    path
        A ``.safetensors`` file, or a file of ``torch.save`` that holds a state dict, or a
        dictionary with a state dict under ``state_dict`` or with a single state dict.
    key
        Key of the state dict in a dictionary that holds more; of nested keys with dots between. Or
        the beginning of the names, up to a dot, of the tensors that are read.
    path_name, key_name
        What the user calls `path` and `key`, for the messages of errors.
    """

    path: Path
    key: str | None = None
    path_name: str = "path"
    key_name: str = "key"

    def read(self) -> Mapping[str, Tensor]:
        """Read the tensors.

        Returns
        -------
        Name to tensor, on the CPU.

        Raises
        ------
        ModelError
            Where the file is missing, damaged, holds anything but tensors (loading a pickled model
            would run its code), or holds several state dicts and the key chooses none.
        """
        if not self.path.is_file():
            raise ModelError(
                f"{self.path_name} = '{self.path}': there is no such file; relative paths are "
                "relative to the current directory"
            )
        if self.path.suffix == ".safetensors":
            return self._chosen_tensors(self._read_safetensors())
        content = self._read_pickled()
        return self._state_dict(self._inner(content) if self.key is None else self._keyed(content))

    def _read_safetensors(self) -> Mapping[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: Mapping[str, Tensor] = load_file(self.path)
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{self.path_name} = '{self.path}' is damaged or no safetensors file: "
                f"{first_line(error)}; {REMEDY}"
            ) from error
        return tensors

    def _chosen_tensors(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self.key is None:
            return tensors
        if begun := named_under(tensors, self.key):
            return begun
        short = self.key_name.rpartition(".")[2]
        raise ModelError(
            f"{self.key_name} = {self.key!r}: '{self.path}' is a safetensors file, which holds "
            f"tensors alone; remove {short}"
        )

    def _read_pickled(self) -> Any:
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ModelError(
                f"{self.path_name} = '{self.path}' is refused: it holds more than tensors (a whole "
                "pickled model, or settings?), and loading it would run code from the file; "
                f"{REMEDY}"
            ) from error
        except Exception as error:  # of any class where the file is damaged
            raise ModelError(
                f"{self.path_name} = '{self.path}' is refused: it is damaged, or no state dict of "
                f"torch.save ({first_line(error)}); {REMEDY}"
            ) from error

    def _inner(self, content: Any) -> Any:
        """Return the state dict inside a dictionary that holds more, or the content as it is."""
        inner = _inner_keys(content)
        if len(inner) > 1:
            raise ModelError(
                f"{self.path_name} = '{self.path}' is refused: it holds {len(inner)} state dicts, "
                f"under {', '.join(map(repr, inner))}; choose one by {self.key_name}"
            )
        return content[inner[0]] if inner else content

    def _keyed(self, content: Any) -> Any:
        """Return what the key names, in the content or in its single state dict."""
        key = str(self.key)
        found = _at(content, key)
        inner = _inner_keys(content)
        if found is None and len(inner) == 1:
            found = _at(content[inner[0]], key)
        if found is not None:
            return found
        held = [str(name) for name in content] if isinstance(content, Mapping) else []
        raise ModelError(
            f"{self.key_name} = {key!r} is no key in '{self.path}'; {nearest(key, held)}"
        )

    def _state_dict(self, content: Any) -> Mapping[str, Tensor]:
        refused = f"{self.path_name} = '{self.path}' is refused"
        if not isinstance(content, Mapping):
            raise ModelError(
                f"{refused}: it holds a {type(content).__name__}, not a state dict; {REMEDY}"
            )
        for name, value in content.items():
            if not isinstance(name, str) or not isinstance(value, Tensor):
                raise ModelError(
                    f"{refused}: its item {name!r} is a {type(value).__name__}, not a tensor; "
                    f"{REMEDY}"
                )
        return content


def named_under(tensors: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """Return the items whose names begin with a prefix and a dot, without these.

    Examples
    --------
    >>> named_under({"net.weight": 1, "net.bias": 2, "ema.bias": 3}, "net")
    {'weight': 1, 'bias': 2}
    """
    begin = f"{prefix}."
    return {
        name.removeprefix(begin): item
        for name, item in tensors.items()
        if isinstance(name, str) and name.startswith(begin)
    }


def _inner_keys(content: Any) -> list[Any]:
    """Return the keys of the state dicts in a dictionary: ``state_dict`` alone, or all."""
    if not isinstance(content, Mapping):
        return []
    if isinstance(content.get("state_dict"), Mapping):
        return ["state_dict"]
    return [key for key, value in content.items() if _is_state_dict(value)]


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(of, Tensor) for name, of in value.items())
    )


def _at(content: Any, key: str) -> Any:
    """Return the entry at a key, at keys with dots between, or the tensors named under a key."""
    if not isinstance(content, Mapping):
        return None
    if key in content:
        return content[key]
    first, dot, rest = key.partition(".")
    if dot and first in content and (found := _at(content[first], rest)) is not None:
        return found
    return named_under(content, key) or None
