"""Where the page of a unit takes its numbers from, and the source that is a run of results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.errors import (
    ArgumentError,
    DatasetError,
    LayerError,
    MissingTableError,
    UnitlensError,
    nearest,
)
from unitlens.explorer.kept_epochs import (
    epoch_words,
    kept_epochs,
    measured_epochs,
    not_kept,
    units_of,
)
from unitlens.explorer.unit_facts import class_profile, profile_from_statistics
from unitlens.statistics.activation_layers import ActivationLayer, activation_layers

if TYPE_CHECKING:
    from unitlens.tables.results import Results

SPLITS = ("test", "train")
ROWS_AT_ONCE = 2**26  # bytes of the rows of a layer that are read whole
OPENED = 8  # runs whose stores and data sets stay open
_LABELS = ("label", "true_label", "prediction")


@dataclass(frozen=True)
class UnitSource:
    """What there is to show of the units of one network.

    Attributes
    ----------
    units
        Table of the units of the network on the dimension ``unit``, with ``layer`` and
        ``channel``; None where there is none. Variables are read when they are shown.
    activations
        The activations as :func:`unitlens.open_activations` returns them; None without a store.
    statistics
        The class statistics, which stand in for activations that are not there; None elsewhere.
    dataset
        The data set whose samples the activations belong to; None without one.
    split
        Name of the split that the activations are of; empty where there is none to name.
    missing
        One line for each part that is left out, which says why: by ``units``, ``activations``,
        ``dataset``, ``course``.
    epoch
        The kept epoch that the units are of; None at the end of training.
    named
        A table that names the units of the network where its activations do not.
    course
        The table of the units of the network at each epoch that was measured, the last the end of
        training, by words for the epoch; empty where no kept epoch was measured.
    corruption
        Share of the samples of ``train`` whose labels were permuted before training; 0 without.
    """

    units: xr.Dataset | None = None
    activations: xr.DataTree | None = None
    statistics: xr.Dataset | None = None
    dataset: Any = None
    split: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    epoch: float | None = None
    named: xr.Dataset | None = None
    course: dict[str, xr.Dataset] = field(default_factory=dict)
    corruption: float = 0.0

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes by label; empty where nothing states them."""
        names: Sequence[Any] = getattr(self.dataset, "classes", None) or ()
        if not names and self.activations is not None:
            stated = self.activations.attrs.get("class_names", "[]")
            names = json.loads(stated) if isinstance(stated, str) else list(stated)
        if not names and self.units is not None and "class_name" in self.units.coords:
            return _names_by_label(self.units)
        return tuple(map(str, names))

    @property
    def position_count(self) -> int:
        """The number of positions of an item, where positions are samples; else 0."""
        attributes = {} if self.activations is None else self.activations.attrs
        shape = attributes.get("position_shape", "[0]")
        return prod(json.loads(shape) if isinstance(shape, str) else shape)

    @property
    def doubts(self) -> list[str]:
        """What makes the numbers doubtful, in a line each: of the activations and of the units."""
        lines = []
        if self.activations is not None and self.activations.attrs.get("doubts"):
            lines.append(f"the activations are doubtful: {self.activations.attrs['doubts']}")
        attributes = {} if self.units is None else self.units.attrs
        names = [str(name) for name in attributes if str(name).endswith("doubts")]
        told = [(name, attributes[name]) for name in names if attributes[name]]
        return [*lines, *(f"the table of units is doubtful ({a}): {why}" for a, why in told)]

    @property
    def no_classes(self) -> str:
        """The reason why the samples have no classes; empty where they have."""
        return "" if self.activations is None else self.activations.attrs.get("no_classes", "")

    @cached_property
    def channels(self) -> dict[str, npt.NDArray[np.int64]]:
        """The channels of each layer, in the order of the forward pass."""
        if self.activations is not None:
            return {layer.name: layer.channel for layer in self._layers.values()}
        tables = (self.named, self.units, self.statistics)
        table = next((one for one in tables if one is not None), None)
        if table is None:
            return {}
        layers = table["layer"].values
        channels = table["channel"].values.astype(np.int64)
        return {str(name): channels[layers == name] for name in dict.fromkeys(layers.tolist())}

    @property
    def names(self) -> xr.Dataset:
        """A table with the layer and the channel of each unit, and nothing else."""
        sizes = [channels.size for channels in self.channels.values()]
        layers = np.repeat(np.array(list(self.channels), object), sizes)
        channels = np.concatenate(list(self.channels.values()))
        return xr.Dataset(coords={"layer": ("unit", layers), "channel": ("unit", channels)})

    @cached_property
    def _layers(self) -> dict[str, ActivationLayer]:
        if self.activations is None:
            return {}
        return {layer.name: layer for layer in activation_layers(self.activations)}

    def layer_activations(self, layer: str) -> xr.Dataset | None:
        """Return the node of a layer, with ``activation``; None where the store lacks the layer."""
        return self._layers[layer].table if layer in self._layers else None

    def check(self, layer: str, channel: int) -> int:
        """Return the place of a unit in its layer.

        Raises
        ------
        LayerError
            Where there is no such layer.
        ArgumentError
            Where the layer has no such unit.
        """
        if layer not in self.channels:
            raise LayerError(
                f"layer = {layer!r}: there is none of this name; {nearest(layer, self.channels)}"
            )
        channels = self.channels[layer]
        places = np.flatnonzero(channels == channel)
        if not places.size:
            raise ArgumentError(
                f"channel = {channel}: the layer '{layer}' has no such unit; take one of its "
                f"{channels.size} channels, from {channels.min()} to {channels.max()}"
            )
        return int(places[0])

    def neighbours(self, layer: str, channel: int) -> tuple[int | None, int | None]:
        """Return the channels of the previous and the next unit of the layer, None at its ends."""
        place, channels = self.check(layer, channel), self.channels[layer]
        previous = int(channels[place - 1]) if place else None
        following = int(channels[place + 1]) if place + 1 < channels.size else None
        return previous, following

    def column(self, layer: str, channel: int) -> xr.DataArray | None:
        """Read the activations of one unit.

        Parameters
        ----------
        layer, channel
            The unit.

        Returns
        -------
        The activations in memory, of shape (sample,), with the coordinates of the samples. Only
        the chunks of the store that hold the unit are read. None without activations of the layer.
        """
        place, table = self.check(layer, channel), self.layer_activations(layer)
        if table is None or self.activations is None:
            return None
        one = table["activation"].isel(unit=place).compute()
        samples = {
            name: value.variable
            for name, value in self.activations.coords.items()
            if value.dims == ("sample",) and not (self.no_classes and name in _LABELS)
        }
        one = one.drop_vars([name for name in one.coords if name not in samples])
        return one.assign_coords(samples)

    def profile(
        self, layer: str, channel: int, column: xr.DataArray | None = None
    ) -> xr.Dataset | None:
        """Return the class profile of a unit; None where there are no classes or no activations.

        Parameters
        ----------
        layer, channel
            The unit.
        column
            What :meth:`column` returned, which is then not read again.
        """
        if self.no_classes:
            return None
        column = self.column(layer, channel) if column is None else column
        if column is not None:
            return class_profile(column)
        if self.statistics is None or "class_mean" not in self.statistics:
            return None
        return profile_from_statistics(self.statistics, layer, channel)

    def layer_units(self, layer: str) -> xr.Dataset | None:
        """Read the rows of the units of a layer; None without a table of the layer.

        The rows stay in memory until those of another layer are read: the next unit is most often
        one of the same layer. Of many rows, numbers by class are read unit by unit.
        """
        if self.units is None:
            return None
        if layer not in self._rows:
            places = np.flatnonzero(self.units["layer"].values == layer)
            rows = self.units.isel(unit=_as_slice(places)) if places.size else None
            if rows is not None and rows.nbytes <= ROWS_AT_ONCE:
                rows.load()
            self._rows.clear()
            self._rows[layer] = rows
        return self._rows[layer]

    @cached_property
    def _rows(self) -> dict[str, xr.Dataset | None]:
        return {}


def source_of_run(
    results: "Results", run: str, split: str | None = None, epoch: float | None = None
) -> UnitSource:
    """Open what a results folder holds of the units of one run.

    Parameters
    ----------
    results
        What :func:`unitlens.open_results` returns.
    run
        Name of the run.
    split
        Split whose activations are shown; if None, ``test`` where it was recorded, else ``train``.
    epoch
        A kept epoch; the end of training if not given.

    Returns
    -------
    The source. Stores and data sets are opened, and nothing of them is read yet.

    Raises
    ------
    TableError
        Where there is no such run.
    """
    chosen = split or SPLITS[0]
    missing: dict[str, str] = {}
    activations = statistics = units = dataset = None
    for name in (split,) if split else SPLITS:
        try:
            activations, chosen = results.activations(run, name, epoch=epoch), name
            missing.pop("activations", None)
            break
        except MissingTableError as error:
            why = not_kept("activations", epoch) if epoch is not None else str(error)
            missing.setdefault("activations", f"activations are left out: {why}")
        except UnitlensError as error:
            missing.setdefault("activations", f"activations are left out: {error}")
            _check_run(results, run)
    if activations is None:
        wanted = (split,) if split else SPLITS
        statistics, chosen = _statistics(results, run, wanted, chosen, epoch)
    try:
        units = units_of(results, run, epoch)
    except UnitlensError as error:
        missing["units"] = f"measures are left out: {error}"
    course = _course(results, run, missing)
    named = course.get(epoch_words(None)) if epoch is not None else None
    try:
        dataset = _same_dataset(results.dataset(run, chosen), activations)
    except (UnitlensError, OSError) as error:
        missing["dataset"] = f"the samples themselves are left out: {error}"
    return UnitSource(
        units, activations, statistics, dataset, chosen, missing, epoch, named, course,
        _corruption(results, run),
    )  # fmt: skip


@lru_cache(OPENED)
def opened_source(
    results: "Results", run: str, split: str | None = None, epoch: float | None = None
) -> UnitSource:
    """Return :func:`source_of_run`, which stays open for the next units and samples of the run.

    Parameters
    ----------
    results, run, split, epoch
        As for :func:`source_of_run`.
    """
    return source_of_run(results, run, split, epoch)


def _course(results: "Results", run: str, missing: dict[str, str]) -> dict[str, xr.Dataset]:
    """Return the units at each measured epoch of a run that kept some."""
    if not kept_epochs(results, run):
        return {}
    epochs: list[float | None] = [*measured_epochs(results, run), None]
    if len(epochs) == 1:
        missing["course"] = f"its place over the epochs is left out: {not_kept('measures')}"
    try:
        return {epoch_words(epoch): units_of(results, run, epoch) for epoch in epochs}
    except UnitlensError:  # the end of training has no measures: said already
        return {}


def _same_dataset(dataset: Any, activations: xr.DataTree | None) -> Any:
    """Return a data set, unless the activations are of another one."""
    recorded = None if activations is None else activations.attrs.get("dataset_identity")
    if recorded is not None and recorded != dataset.identity:
        raise DatasetError(
            f"the prepared data set has the identity {dataset.identity}, the activations are of "
            f"{recorded}; run snakemake again: it records what has changed"
        )
    return dataset


def _check_run(results: "Results", run: str) -> None:
    if run not in map(str, results.runs["run"].values):
        results.activations(run, SPLITS[0])  # raises the error that names the run


def _corruption(results: "Results", run: str) -> float:
    runs = results.runs
    return float(runs["corruption"].sel(run=run).item()) if "corruption" in runs else 0.0


def _statistics(
    results: "Results", run: str, splits: Sequence[str], chosen: str, epoch: float | None
) -> tuple[xr.Dataset | None, str]:
    for name in splits:
        try:
            return results.class_statistics(run, name, epoch=epoch), name
        except UnitlensError:
            continue
    return None, chosen


def _names_by_label(units: xr.Dataset) -> tuple[str, ...]:
    named = dict(zip(units["class"].values.tolist(), units["class_name"].values, strict=True))
    return tuple(str(named.get(label, "")) for label in range(max(named, default=-1) + 1))


def _as_slice(places: npt.NDArray[np.int64]) -> Any:
    """Return consecutive places as a slice, which reads less, and others as they are."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == places.size else places
