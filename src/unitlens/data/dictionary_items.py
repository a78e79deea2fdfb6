"""Items of a user's data set that are dictionaries: which keys are the input and the label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unitlens.config.networks import DatasetSpec
from unitlens.data.items import NO_TARGET, ItemForm, split_item
from unitlens.errors import DatasetError


@dataclass(frozen=True)
class ItemKeys:
    """The keys of the input and of the label in items that are dictionaries.

    Attributes
    ----------
    input
        Key of the input. None: the only key beside the label that holds no text.
    target
        Key of the label. None: ``label``, ``labels``, ``target`` or ``targets``.
    """

    input: str | None = None
    target: str | None = None

    @classmethod
    def of(cls, spec: DatasetSpec) -> "ItemKeys":
        """Return the keys that a data set's section names."""
        return cls(spec.input, spec.target)

    def pair(self, item: Any, place: str) -> Any:
        """Return input and label of an item that is a dictionary, any other item as it is.

        Parameters
        ----------
        item
            The item.
        place
            The item in words, for messages.

        Raises
        ------
        DatasetError
            Where a key is not in the item, or several keys could be meant; where keys are named and
            the item is no dictionary.
        """
        if not isinstance(item, Mapping):
            if self != ItemKeys():
                raise DatasetError(
                    f"{place} is a {type(item).__name__}, but dataset.input and dataset.target are "
                    "keys of items that are dictionaries; remove these two"
                )
            return item
        value, label = split_item(item, ItemForm(self.target), None, place)
        if label is NO_TARGET:
            raise DatasetError(
                f"{place} has the keys {_listed(item)}, of which none is label, labels, target or "
                "targets; name that of the label by dataset.target"
            )
        return self._input(value, place), label

    def _input(self, value: Any, place: str) -> Any:
        if not isinstance(value, Mapping):  # the only entry
            value = {self.input: value}
        if self.input is not None:
            if self.input not in value:
                raise DatasetError(
                    f"{place} has the keys {_listed(value)} beside the label, but dataset.input is "
                    f"'{self.input}'; name one of them"
                )
            return value[self.input]
        entries = {key: entry for key, entry in value.items() if not isinstance(entry, str | bytes)}
        if not entries:
            raise DatasetError(
                f"{place} has texts alone beside the label ({_listed(value)}); have the function "
                "return numbers, such as the tokens of a text"
            )
        if len(entries) > 1:
            raise DatasetError(
                f"{place} has the keys {_listed(entries)} beside the label; name that of the input "
                "by dataset.input (networks of several inputs are measured from Python)"
            )
        return next(iter(entries.values()))


def _listed(keys: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, keys))
