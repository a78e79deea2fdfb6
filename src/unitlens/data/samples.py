"""The samples of a data set: tensors of inputs, and of labels or targets, by index."""

import logging
from collections.abc import Iterator, Mapping
from copy import copy
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unitlens.data.item_files import get_item
from unitlens.data.items import (
    NO_TARGET,
    ItemForm,
    split_item,
    stack_items,
    to_tensor,
    to_tensors,
    unnamed_numbers,
)
from unitlens.data.labels import classless_reason, is_plain_label, one_hot_place, whole_label
from unitlens.data.map_style import (
    Indices,
    WholeBatches,
    class_names,
    open_map_style,
    probe_rows,
)
from unitlens.errors import DatasetError, UnitlensError, nearest, one_line, shown
from unitlens.memory_errors import lacks_memory
from unitlens.model.calling import argument_names
from unitlens.model.inputs import AnyInputs, make_inputs
from unitlens.model.precision import autocast_disabled
from unitlens.model.wrapped_modules import unwrap

logger = logging.getLogger("unitlens")
Targets = Literal["labels", "any", "none"]
_CPU = torch.device("cpu")
_LABEL_ERRORS = (TypeError, ValueError, RuntimeError, OverflowError)


class Samples:
    """The samples of a data set.

    Parameters
    ----------
    dataset
        A data set as :func:`~unitlens.data.map_style.open_map_style` takes it.
    form
        How its items are read.
    names
        Names of the arguments of the network, which choose among the keys of items that are
        dictionaries; None for all keys.

    Attributes
    ----------
    given
        The data set as it was given.
    dataset
        The map-style data set.
    form
        How its items are read.
    names
        Names of the arguments of the network, or None.
    classes
        Names of the classes that the data set states; None where it states none.
    """

    def __init__(
        self, dataset: Any, form: ItemForm | None = None, names: frozenset[str] | None = None
    ) -> None:
        self.dataset, self.form = open_map_style(dataset, form or ItemForm())
        self.given, self.classes = dataset, class_names(dataset)
        self.names = names
        self._told = False

    def __len__(self) -> int:
        return len(self.dataset) if self._kept is None else len(self._kept)

    @property
    def ignored(self) -> int:
        """Number of samples that are left out, for their label is `ignore_index`."""
        return 0 if self._kept is None else len(self.dataset) - len(self._kept)

    def attributes(self) -> dict[str, Any]:
        """Return how labels were read, for the attributes of a result; empty where as they are."""
        attributes: dict[str, Any] = {}
        if self.form.ignore_index is not None:
            attributes |= {"ignore_index": self.form.ignore_index, "ignored": self.ignored}
        if self.label_names is not None:
            attributes["label_names"] = list(self.label_names)
        return attributes

    @cached_property
    def no_labels(self) -> str:
        """Why the targets are no labels, in words; empty where they are labels.

        Where the first target does not tell, as a whole float does not, 64 samples do.
        """
        if isinstance(self.dataset, WholeBatches) or not len(self):
            return ""
        rows = probe_rows(len(self))
        if self.form.collate_fn is None:
            if is_plain_label(self._first_target):
                return ""
            return classless_reason(self.raw_targets(rows))
        with torch.inference_mode(mode=False):
            target = self._collated_target(self.places(rows[:3]))
        return classless_reason([target] * 3 if target is NO_TARGET else list(target))

    @cached_property
    def _first_target(self) -> Any:
        return self._split(int(self.places([0])[0]))[1]

    @property
    def kind(self) -> Targets:
        """Kind of targets that a recording reads."""
        return "none" if self.no_labels else "labels"

    def places(self, indices: npt.ArrayLike) -> Indices:
        """Return the indices in the data set of some samples."""
        at = np.asarray(indices, np.int64)
        return at if self._kept is None else self._kept[at]

    def read_from(self, dataset: Any) -> "Samples":
        """Return the same samples, whose items are read from a data set with the same items."""
        samples = copy(self)
        samples.dataset = dataset
        return samples

    def read(self, indices: npt.ArrayLike, targets: Targets) -> tuple[AnyInputs, Tensor]:
        """Return the stored inputs of some samples, and the labels or targets.

        Parameters
        ----------
        indices
            Indices of the samples, (batch,).
        targets
            ``labels``: an integer label a sample. ``any``: targets of any shape; where an item has
            none, its input is the target. ``none``: targets are not read, and 0 takes their place.

        Raises
        ------
        DatasetError
            Where an item cannot be read, is of another form, or differs in shape from the others.
        """
        places = self.places(indices)
        # A data set may cache tensors, which must stay usable outside of inference mode.
        with torch.inference_mode(mode=False):
            if isinstance(self.dataset, WholeBatches):
                return self.dataset.stored_batch(places)
            if self.form.collate_fn is not None:
                return self._collated(places, targets)
            items = [self._item(int(place), targets) for place in places]
        inputs = make_inputs(stack_items([value for value, _ in items], places, "an input"))
        if targets == "any":
            return inputs, self._targets(inputs, [target for _, target in items], places)
        return inputs, torch.tensor([label for _, label in items], dtype=torch.int64)

    def finished(self, inputs: AnyInputs) -> AnyInputs:
        """Return the inputs of what :meth:`read` returned, computed on their device."""
        if isinstance(self.dataset, WholeBatches) and isinstance(inputs, Tensor):
            return self.dataset.finished(inputs)
        return inputs

    def raw_targets(self, indices: npt.ArrayLike) -> list[Any]:
        """Return the targets of some samples as the data set holds them."""
        places = self.places(indices)
        return [self._split(int(place))[1] for place in places]

    def _split(self, place: int) -> tuple[Any, Any]:
        with autocast_disabled(_CPU):
            item = get_item(self.dataset, place, "the data set")
        if not self._told:
            self._tell_left_out(item)
        return split_item(item, self.form, self.names, f"item {place} of the data set")

    def _tell_left_out(self, item: Any) -> None:
        self._told = True
        names = unnamed_numbers(item, self.names, self.form)
        if names:
            logger.warning(
                "the network has no argument %s, so these keys of the items are left out",
                " or ".join(map(repr, names)),
            )

    def _item(self, place: int, targets: Targets) -> tuple[Any, Any]:
        value, target = self._split(place)
        where = f"item {place} of the data set"
        try:
            inputs = to_tensors(value)
        except _LABEL_ERRORS as error:
            raise DatasetError(
                f"{where} has an input of type {type(value).__name__}, but must be a pair of a "
                f"tensor or array and a target ({one_line(error)}); convert it, or give a "
                "collate_fn that does"
            ) from error
        if targets == "none":
            return inputs, 0
        if targets == "labels":
            return inputs, self._label(target, where, value)
        if target is NO_TARGET:
            return inputs, target
        try:
            return inputs, self._name_place(target) if isinstance(target, str) else to_tensor(
                target
            )
        except _LABEL_ERRORS as error:
            raise DatasetError(
                f"{where} is ({type(value).__name__}, {_shown_target(target)}), but must be a "
                "tensor or array and a number, tensor or array"
            ) from error

    def _label(self, label: Any, where: str, value: Any = "") -> int:
        if label is NO_TARGET:
            raise DatasetError(
                f"{where} is a {type(value).__name__} without a label, but must be a pair (input, "
                "label); name the key of the label, target='...', or give a function as score"
            )
        try:
            if isinstance(label, str):
                return self._name_place(label)
            place = one_hot_place(label)
            return whole_label(label) if place is None else place
        except _LABEL_ERRORS as error:
            raise DatasetError(
                f"{where} is ({type(value).__name__}, {_shown_target(label)}), but must be a "
                "tensor or array and an integer label; give labels 0, 1, ..., a function as score "
                "that takes such targets, or positions='samples' for one class a position"
            ) from error

    def _targets(self, inputs: AnyInputs, targets: list[Any], places: Indices) -> Tensor:
        absent = [target is NO_TARGET for target in targets]
        if any(absent) and not all(absent):
            raise DatasetError(
                f"item {places[absent.index(True)]} of the data set has no target, but others do; "
                "give all items one"
            )
        if any(absent):
            return self._input_as_target(inputs)
        if isinstance(targets[0], int):
            return torch.tensor(targets, dtype=torch.int64)
        stacked: Tensor = stack_items(targets, places, "a target")
        return stacked

    @staticmethod
    def _input_as_target(inputs: AnyInputs) -> Tensor:
        if isinstance(inputs, Tensor):
            return inputs
        raise DatasetError(
            "the items have no target and several inputs, but a score needs a target; name it, for "
            "instance target='input_ids'"
        )

    def _collated_target(self, places: Indices) -> Any:
        return self._collate(places)[1]

    def _collate(self, places: Indices) -> tuple[Any, Any]:
        """Return the inputs and the targets that the collate function makes of some items."""
        where = _collated_name(places)
        with autocast_disabled(_CPU):
            items = [get_item(self.dataset, int(place), "the data set") for place in places]
        try:
            batch = self.form.collate_fn(items)  # type: ignore[misc]
        except Exception as error:
            if lacks_memory(error):
                raise
            raise DatasetError(
                f"collate_fn cannot join items {places[0]} to {places[-1]} of the data set "
                f"({type(error).__name__}: {one_line(error)}); mend collate_fn or the items"
            ) from error
        return split_item(batch, self.form, self.names, where)

    def _collated(self, places: Indices, targets: Targets) -> tuple[AnyInputs, Tensor]:
        where = _collated_name(places)
        value, target = self._collate(places)
        try:
            inputs = make_inputs(to_tensors(value))
            of_batch = target if target is NO_TARGET or targets != "any" else to_tensor(target)
        except UnitlensError as error:
            raise DatasetError(
                f"{where} has inputs of unequal length ({one_line(error)})"
            ) from error
        except _LABEL_ERRORS as error:
            raise DatasetError(
                f"{where} is a {type(value).__name__} that is no batch of tensors "
                f"({one_line(error)}); return a pair (inputs, targets)"
            ) from error
        if targets == "none":
            of_batch = torch.zeros(len(places), dtype=torch.int64)
        elif target is NO_TARGET and targets == "any":
            of_batch = self._input_as_target(inputs)
        elif targets == "labels":
            rows = [NO_TARGET] * len(places) if target is NO_TARGET else target
            of_batch = torch.tensor([self._label(row, where) for row in rows], dtype=torch.int64)
        if not len(inputs) == len(of_batch) == len(places):
            raise DatasetError(
                f"{where} has {len(inputs)} inputs and {len(of_batch)} targets, but must have "
                f"{len(places)}, samples on axis 0"
            )
        return inputs, of_batch

    def _name_place(self, label: str) -> int:
        try:
            return self._places_of_names[label]
        except KeyError:
            raise ValueError(
                f"{label!r} is no class of the data set ({nearest(label, self.label_names or ())})"
            ) from None

    @cached_property
    def _places_of_names(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.label_names or ())}

    @cached_property
    def label_names(self) -> tuple[str, ...] | None:
        """Class of each integer, where labels are text: as stated, else sorted by their names."""
        if len(self) == 0 or isinstance(self.dataset, WholeBatches | TensorDataset):
            return None
        if self.form.collate_fn is not None or not isinstance(self._first_target, str):
            return None
        if self.classes is not None:
            return self.classes
        logger.info("reading all %d labels, which are text", len(self.dataset))
        return tuple(sorted({str(self._split(place)[1]) for place in range(len(self.dataset))}))

    def check_width(self, width: int) -> None:
        """Raise DatasetError where labels are text, and their order need not be that of logits.

        Parameters
        ----------
        width
            Number of logits.
        """
        names = self.label_names
        if names is not None and self.classes is None and len(names) != width:
            raise DatasetError(
                f"the labels of the data set are the {len(names)} texts {shown(list(names))}, but "
                f"the model puts out {width} logits; give the data set an attribute classes, a "
                "list of the name of each logit"
            )

    @cached_property
    def _kept(self) -> Indices | None:
        """Indices of the samples whose label is not `ignore_index`; None for all samples."""
        ignored = self.form.ignore_index
        if ignored is None:
            return None
        kept = [place for place, label in enumerate(self._all_targets()) if not _is(label, ignored)]
        return np.array(kept, np.int64)

    def _all_targets(self) -> Iterator[Any]:
        dataset, default = self.dataset, self.form.target is None and self.form.collate_fn is None
        if type(dataset) is TensorDataset and default and len(dataset.tensors) == 2:
            return iter(dataset.tensors[1])
        if isinstance(dataset, WholeBatches):
            return iter(dataset.batch(np.arange(len(dataset)))[1])
        if self.form.collate_fn is None:
            return (self._split(place)[1] for place in range(len(dataset)))
        return (self._collate(np.array([place]))[1][0] for place in range(len(dataset)))


def open_samples(
    dataset: Any, form: ItemForm | None = None, model: nn.Module | None = None
) -> Samples:
    """Return the samples of a data set.

    Parameters
    ----------
    dataset
        The data set; :class:`Samples` stay as they are.
    form
        How its items are read; by default as pairs (input, target).
    model
        The network whose arguments choose among the keys of items that are dictionaries.
    """
    if isinstance(dataset, Samples):
        return dataset
    return Samples(dataset, form, None if model is None else argument_names(unwrap(model)))


def _collated_name(places: Indices) -> str:
    return f"what collate_fn returns for items {places[0]} to {places[-1]}"


def _is(label: Any, ignored: int) -> bool:
    try:
        return whole_label(label) == ignored
    except _LABEL_ERRORS:
        return False


def _shown_target(target: Any) -> str:
    if isinstance(target, Tensor | np.ndarray) and target.ndim:
        return f"{type(target).__name__} of shape {tuple(target.shape)}"
    return shown(target)
