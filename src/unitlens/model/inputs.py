"""Inputs of a network: one tensor, or a structure of tensors with the samples on axis 0."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from unitlens.errors import ArgumentError

Rows = Any  # what selects rows of a tensor: a slice, a list, a tensor of indices


def map_structure(function: Callable[[Any], Any], value: Any) -> Any:
    """Return a structure with a function applied to each of its leaves.

    Parameters
    ----------
    function
        Function of a leaf.
    value
        A leaf, or a tuple, list or dictionary of structures.

    Examples
    --------
    >>> map_structure(lambda leaf: leaf + 1, {"a": (1, 2), "b": [3]})
    {'a': (2, 3), 'b': [4]}
    """
    if isinstance(value, Mapping):
        return {key: map_structure(function, entry) for key, entry in value.items()}
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        entries = [map_structure(function, entry) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    return function(value)


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors of a structure, or of :class:`Inputs`, in their order.

    Examples
    --------
    >>> len(tensors_in({"a": torch.zeros(2), "b": (None, torch.ones(2))}))
    2
    """
    found: list[Tensor] = []

    def note(leaf: Any) -> None:
        if isinstance(leaf, Tensor):
            found.append(leaf)

    map_structure(note, value.value if isinstance(value, Inputs) else value)
    return found


class Inputs:
    """A batch of inputs of several tensors, which selects and moves all tensors alike.

    Parameters
    ----------
    value
        A tuple, list or dictionary of tensors, possibly nested, each with the samples on axis 0.
        Other leaves, such as None, are handed on as they are.

    Attributes
    ----------
    value
        The structure.

    Raises
    ------
    ArgumentError
        Where the structure has no tensor, or the tensors differ in the number of samples.

    Examples
    --------
    >>> inputs = Inputs({"ids": torch.zeros(3, 5), "mask": torch.ones(3, 5)})
    >>> len(inputs), len(inputs[:2])
    (3, 2)
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self._tensors = tensors_in(value)
        lengths = {len(tensor) if tensor.dim() else 0 for tensor in self._tensors}
        if len(lengths) != 1:
            raise ArgumentError(
                f"the inputs are {describe_inputs(self)}, but must be tensors that all have the "
                "samples on axis 0"
            )

    def __len__(self) -> int:
        return len(self._tensors[0])

    def __getitem__(self, rows: Rows) -> "Inputs":
        if isinstance(rows, int):
            rows = slice(rows, rows + 1)
        return self._map(lambda tensor: tensor[rows])

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self._tensors[0].device

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self._tensors)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Inputs":
        """Return the inputs on a device, with floating-point tensors in a dtype if one is given."""
        return self._map(
            lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else None)
        )

    def clone(self) -> "Inputs":
        """Return a copy of all tensors."""
        return self._map(Tensor.clone)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        return Inputs(
            map_structure(
                lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, self.value
            )
        )


AnyInputs = Tensor | Inputs


def make_inputs(value: Any) -> AnyInputs:
    """Return a batch as a tensor where the batch is one, else as :class:`Inputs`."""
    return value if isinstance(value, Tensor | Inputs) else Inputs(value)


def has_padding(inputs: AnyInputs) -> bool:
    """Tell whether an input has padded positions, by the argument ``attention_mask``.

    Examples
    --------
    >>> has_padding(Inputs({"ids": torch.ones(1, 2), "attention_mask": torch.tensor([[1, 0]])}))
    True
    """
    if not isinstance(inputs, Inputs) or not isinstance(inputs.value, Mapping):
        return False
    mask = inputs.value.get("attention_mask")
    return isinstance(mask, Tensor) and bool((mask == 0).any())


PADDING = (
    "the inputs are padded (attention_mask), and the means of units over positions include the "
    "padding; make tokens the samples, positions='samples', with a target for each token and -100 "
    "for padding, or group items by length"
)


def describe_inputs(inputs: Any) -> str:
    """Return the shapes of a batch in words.

    Examples
    --------
    >>> describe_inputs({"a": torch.zeros(2, 3)})
    "{'a': (2, 3)}"
    """
    value = inputs.value if isinstance(inputs, Inputs) else inputs

    def shape(leaf: Any) -> Any:
        return tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf

    return str(map_structure(shape, value))
