"""One item of a data set, or what a collate function makes of several: inputs and target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unitlens.errors import ArgumentError, DatasetError, shown

TARGET_KEYS = ("label", "labels", "target", "targets")


@dataclass(frozen=True)
class ItemForm:
    """How the items of a data set are read.

    Attributes
    ----------
    target
        Key of the target in items that are dictionaries, or its place in items that are tuples.
        None: the one of :data:`TARGET_KEYS` that an item has, or the second entry of a pair.
    collate_fn
        Function of a list of items that returns a batch of the form of an item. None: tensors are
        stacked.
    ignore_index
        Label of samples that are left out. None: no sample is left out.
    """

    target: str | int | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    ignore_index: int | None = None

    def check(self) -> None:
        """Raise ArgumentError where a value breaks its rule."""
        if self.target is not None and type(self.target) not in (str, int):
            raise ArgumentError(
                f"target is {self.target!r}, but must be the key or the place of the target in an "
                "item, such as 'label' or 1"
            )
        if self.collate_fn is not None and not callable(self.collate_fn):
            raise ArgumentError(
                f"collate_fn is {shown(self.collate_fn)}, but must be a function of a list of items"
            )
        if self.ignore_index is not None and type(self.ignore_index) is not int:
            raise ArgumentError(
                f"ignore_index is {self.ignore_index!r}, but must be an integer label such as -100"
            )


class _NoTarget:
    """Stands for the target of an item that has none."""

    def __repr__(self) -> str:
        return "no target"


NO_TARGET = _NoTarget()


def split_item(
    item: Any, form: ItemForm, names: frozenset[str] | None, place: str
) -> tuple[Any, Any]:
    """Return the inputs and the target of an item.

    Parameters
    ----------
    item
        A pair (input, target); a dictionary of inputs and a target; or an input alone.
    form
        How items are read.
    names
        Names of the arguments of the network, which choose among the keys of a dictionary; None
        where all keys are inputs.
    place
        The item in words, for messages.

    Returns
    -------
    Inputs and target; :data:`NO_TARGET` where the item has none.

    Raises
    ------
    DatasetError
        Where the item has none of these forms, or lacks its target.
    """
    if isinstance(item, Mapping):
        return _split_mapping(item, form, names, place)
    if form.target is not None and isinstance(form.target, str):
        raise DatasetError(
            f"{place} is a {type(item).__name__}, but target is {form.target!r}, the key of an "
            "item that is a dictionary; leave target away, or give a place such as 1"
        )
    if not isinstance(item, tuple | list) or _is_flat_list(item):
        return item, NO_TARGET
    if form.target is not None:
        return _split_at(item, form.target, place)
    if len(item) == 1:
        return _inputs(item[0], names), NO_TARGET
    if len(item) == 2:
        inputs, target = item
        return _inputs(inputs, names), NO_TARGET if target is None else target
    kinds = ", ".join(type(entry).__name__ for entry in item)
    raise DatasetError(
        f"{place} has {len(item)} entries ({kinds}), but must be a pair (input, target); give "
        "several inputs as ((first, second), target), or name the place of the target, target=1, "
        "where all other entries but texts are inputs, or give a collate_fn that returns a pair"
    )


def _split_at(item: Sequence[Any], target: Any, place: str) -> tuple[Any, Any]:
    if not -len(item) <= target < len(item):
        raise DatasetError(
            f"{place} has {len(item)} entries, but target is {target}; give a place from 0 to "
            f"{len(item) - 1}"
        )
    at = target % len(item)
    inputs = tuple(entry for index, entry in enumerate(item) if index != at and not _is_text(entry))
    if not inputs:
        raise DatasetError(f"{place} has no input beside the target at {target} and texts")
    return inputs[0] if len(inputs) == 1 else inputs, item[at]


def _split_mapping(
    item: Mapping[Any, Any], form: ItemForm, names: frozenset[str] | None, place: str
) -> tuple[Any, Any]:
    key = form.target
    if key is None:
        found = [name for name in TARGET_KEYS if name in item]
        if len(found) > 1:
            raise DatasetError(
                f"{place} has the keys {' and '.join(map(repr, found))}, and each could be the "
                f"target; name one, target={found[0]!r}"
            )
        key = found[0] if found else None
    elif key not in item:
        raise DatasetError(
            f"{place} has the keys {', '.join(map(repr, item))}, but target is {key!r}; name one "
            "of them"
        )
    target = NO_TARGET if key is None or item[key] is None else item[key]
    # A key that the network takes is an input too, unless it is the usual name of a target.
    also_input = key not in TARGET_KEYS and names is not None and key in names
    inputs = {name: value for name, value in item.items() if name != key or also_input}
    chosen = _inputs(inputs, names)
    if not chosen:
        raise DatasetError(f"{place} has no key beside the target {key!r}, but needs an input")
    if len(chosen) == 1 and not (names is None or set(chosen) <= names):
        (chosen,) = chosen.values()
    return chosen, target


def _inputs(inputs: Any, names: frozenset[str] | None) -> Any:
    """Return inputs, of a dictionary those that the network names, if it names any."""
    if not isinstance(inputs, Mapping):
        return inputs
    known = {name: value for name, value in inputs.items() if names is None or name in names}
    return known or {name: value for name, value in inputs.items() if not _is_text(value)}


def unnamed_numbers(item: Any, names: frozenset[str] | None, form: ItemForm) -> list[str]:
    """Return the keys of numbers in a dictionary that the network does not name as others.

    Such columns are left out where the network names other keys.
    """
    inputs = item[0] if isinstance(item, tuple | list) and len(item) else item
    if not isinstance(inputs, Mapping) or names is None or not set(inputs) & names:
        return []
    targets = {form.target, *TARGET_KEYS}
    return [
        str(name)
        for name, value in inputs.items()
        if name not in names and name not in targets and not _is_text(value) and value is not None
    ]


def _is_text(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_text, value))
    return isinstance(value, str | bytes)


def _is_flat_list(item: Any) -> bool:
    """Tell whether an item is a list of more than two numbers: an input alone."""
    return type(item) is list and len(item) > 2 and all(isinstance(e, Number) for e in item)


def _is_numbers(value: Any) -> bool:
    """Tell whether a value is a list or tuple of plain numbers, possibly nested."""
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return bool(value) and all(isinstance(e, Number) or _is_numbers(e) for e in value)
    return False


def to_tensors(inputs: Any) -> Any:
    """Return an input with a tensor in the place of each array, number or list of numbers.

    Raises
    ------
    TypeError
        Where a leaf is neither of these nor None.
    """
    if _is_numbers(inputs):
        return torch.as_tensor(inputs)
    if isinstance(inputs, Mapping):
        return {name: to_tensors(value) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        entries = [to_tensors(entry) for entry in inputs]
        return type(inputs)(*entries) if hasattr(inputs, "_fields") else type(inputs)(entries)
    return inputs if inputs is None else to_tensor(inputs)


def to_tensor(value: Any) -> Tensor:
    """Return an array, a number or a list of numbers as a tensor; plain floats as float64."""
    if isinstance(value, str | bytes):
        raise TypeError(f"{value!r} is text")
    # torch would make plain floats float32 and lose digits.
    return torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def stack_structures(values: list[Any]) -> Any:
    """Return the structure of the stacked tensors of some structures.

    Raises
    ------
    ValueError
        Where structures or shapes differ; the text says how, after the number of the first such
        structure.
    """
    first = values[0]
    for number, value in enumerate(values):
        _check_alike(number, value, first)
    if isinstance(first, Mapping):
        return {name: stack_structures([value[name] for value in values]) for name in first}
    if isinstance(first, tuple | list):
        entries = [stack_structures(list(column)) for column in zip(*values, strict=True)]
        return type(first)(*entries) if hasattr(first, "_fields") else type(first)(entries)
    return torch.stack(values) if isinstance(first, Tensor) else first


def stack_items(values: list[Any], places: Sequence[int] | np.ndarray, kind: str) -> Any:
    """Return the inputs or the targets of several items as one structure of stacked tensors.

    Parameters
    ----------
    values
        Structure of tensors of each item.
    places
        Index of each item in the data set, for messages.
    kind
        What is stacked, in words: "an input" or "a target".

    Raises
    ------
    DatasetError
        Where two items differ in form or in shape.
    """
    try:
        return stack_structures(values)
    except UnlikeError as error:
        raise DatasetError(
            f"item {places[error.number]} of the data set has {kind} {error.has}, but item "
            f"{places[0]} has {kind} {error.first_has}; bring all {kind.split()[1]}s to one shape, "
            "or give a collate_fn that pads them"
        ) from None


class UnlikeError(ValueError):
    """Structures or shapes of two items differ.

    Attributes
    ----------
    number
        Number of the item that differs from the first one.
    has, first_has
        What both items have, in words.
    """

    def __init__(self, number: int, has: str, first_has: str) -> None:
        super().__init__(f"{has}, not {first_has}")
        self.number, self.has, self.first_has = number, has, first_has


def _check_alike(number: int, value: Any, first: Any) -> None:
    if isinstance(value, Tensor) and isinstance(first, Tensor):
        if value.shape != first.shape:
            shapes = (f"of shape {tuple(tensor.shape)}" for tensor in (value, first))
            raise UnlikeError(number, *shapes)
        return
    alike = type(value) is type(first)
    if isinstance(first, Mapping):
        alike = isinstance(value, Mapping) and set(value) == set(first)
    elif isinstance(first, tuple | list):
        alike = alike and len(value) == len(first)
    if not alike:
        raise UnlikeError(number, f"of the form {_form(value)}", f"of the form {_form(first)}")


def _form(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"dictionary with {', '.join(map(repr, value))}"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{type(value).__name__}{size}"
