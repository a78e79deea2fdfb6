"""What the page of a unit says in numbers: its place in its layer, its classes, its samples."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.analysis.drop_intervals import interval_ends
from unitlens.errors import ArgumentError
from unitlens.seeds import seeded

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_ACCOMPANY = ("_se", "_bound", "_low", "_high")  # variables that go with a measure
_NO_CLASS = -1

Floats = npt.NDArray[np.float64]


def measure_names(units: xr.Dataset) -> list[str]:
    """Return the variables of a table that are measures of a unit, without errors and bounds."""
    return [
        str(name)
        for name, value in units.data_vars.items()
        if value.dims == ("unit",)
        and value.dtype.kind == "f"
        and not str(name).endswith(_ACCOMPANY)
        and value.attrs.get("units") != "samples"
    ]


def measure_places(units: xr.Dataset, channel: int) -> xr.Dataset:
    """Compute the place of a unit in all measures among the units of its layer.

    Parameters
    ----------
    units
        Table of the units of one layer of one network, with ``channel`` on ``unit``.
    channel
        The unit.

    Returns
    -------
    Dataset on the dimension ``measure``: ``value``; ``low`` and ``high``, the ends of a 95 %
    interval, and ``error``, the standard error, where the table has them; ``percentile``, the share
    in percent of the layer's units with a smaller value plus half of those with an equal value;
    ``units``, the number of units that have a value and are compared. The percentile is NaN where
    the unit has no value. The coordinates ``long_name``, ``unit_of_measure`` and ``description``
    say what the measures are.

    Raises
    ------
    ArgumentError
        Where the table has no such unit.

    Examples
    --------
    >>> units = xr.Dataset(
    ...     {"selectivity": ("unit", [0.1, 0.2, 0.3, 0.4])},
    ...     coords={"channel": ("unit", [0, 1, 2, 3])},
    ... )
    >>> float(measure_places(units, 2)["percentile"][0])
    62.5
    """
    at = _place(units, channel)
    names = measure_names(units)
    rows = []
    for name in names:
        values = units[name].values.astype(np.float64)
        value, known = values[at], values[~np.isnan(values)]
        error = float(units[f"{name}_se"].values[at]) if f"{name}_se" in units else np.nan
        low, high = interval_ends(units.isel(unit=[at]), name) or ([np.nan], [np.nan])
        below = (known < value).sum() + 0.5 * (known == value).sum()
        percentile = 100 * below / known.size if not np.isnan(value) else np.nan
        rows.append((value, low[0], high[0], error, percentile, known.size))
    columns = np.array(rows, np.float64).reshape(-1, 6).T
    attributes = [units[name].attrs for name in names]
    return xr.Dataset(
        {
            "value": ("measure", columns[0]),
            "low": ("measure", columns[1]),
            "high": ("measure", columns[2]),
            "error": ("measure", columns[3]),
            "percentile": ("measure", columns[4], {"units": "%"}),
            "units": ("measure", columns[5].astype(np.int64)),
        },
        coords={
            "measure": names,
            "long_name": (
                "measure",
                [a.get("long_name", n) for a, n in zip(attributes, names, strict=True)],
            ),
            "unit_of_measure": ("measure", [a.get("units", "") for a in attributes]),
            "description": ("measure", [a.get("description", "") for a in attributes]),
        },
    )


def _place(units: xr.Dataset, channel: int) -> int:
    places = np.flatnonzero(units["channel"].values == channel)
    if not places.size:
        raise ArgumentError(
            f"channel = {channel}: the table has no such unit of the layer; take one of its "
            "channels"
        )
    return int(places[0])


def class_profile(column: xr.DataArray) -> xr.Dataset:
    """Compute the mean activation of a unit by class, with standard errors.

    Parameters
    ----------
    column
        Activations of the unit, of shape (sample,), with the coordinate ``label``.

    Returns
    -------
    Dataset on the dimension ``class``, the labels that occur: ``mean``; ``mean_se``, the standard
    deviation (n - 1) over the root of the number of samples, NaN for one sample; ``count``. A NaN
    among the activations of a class makes its mean NaN.

    Examples
    --------
    >>> column = xr.DataArray(
    ...     [1.0, 3.0, 5.0], dims="sample", coords={"label": ("sample", [0, 0, 1])}
    ... )
    >>> profile = class_profile(column)
    >>> profile["mean"].values.tolist(), profile["mean_se"].values.tolist()
    ([2.0, 5.0], [1.0, nan])
    """
    labels = column["label"].values
    values = column.values.astype(np.float64)
    classes = np.unique(labels)
    groups = [values[labels == label] for label in classes]
    errors = [
        group.std(ddof=1) / np.sqrt(group.size) if group.size > 1 else np.nan for group in groups
    ]
    return _profile(classes, [group.mean() for group in groups], errors, [g.size for g in groups])


def profile_from_statistics(statistics: xr.Dataset, layer: str, channel: int) -> xr.Dataset:
    """Return what :func:`class_profile` returns, from class statistics in place of activations.

    Parameters
    ----------
    statistics
        What :func:`unitlens.class_statistics` returns.
    layer, channel
        The unit.
    """
    one = statistics.sel(layer=layer, channel=channel).isel(unit=0)
    count = statistics["count"].values.astype(np.float64)
    variance = one["class_variance"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(count > 1, np.sqrt(variance / (count - 1)), np.nan)
    return _profile(statistics["class"].values, one["class_mean"].values, error, count)


def _profile(
    classes: npt.ArrayLike, mean: npt.ArrayLike, error: npt.ArrayLike, count: npt.ArrayLike
) -> xr.Dataset:
    return xr.Dataset(
        {
            "mean": ("class", np.asarray(mean, np.float64)),
            "mean_se": ("class", np.asarray(error, np.float64)),
            "count": ("class", np.asarray(count, np.int64)),
        },
        coords={"class": np.asarray(classes)},
    )


def class_quantiles(column: xr.DataArray, quantiles: Sequence[float] = QUANTILES) -> xr.DataArray:
    """Compute quantiles of the activations of a unit in each class.

    Parameters
    ----------
    column
        Activations of the unit, of shape (sample,), with the coordinate ``label``.
    quantiles
        The quantiles, from 0 to 1.

    Returns
    -------
    Array of shape (class, quantile), NaN for a class with a NaN among its activations.
    """
    labels = column["label"].values
    values = column.values.astype(np.float64)
    classes = np.unique(labels)
    rows = [np.quantile(values[labels == label], quantiles) for label in classes]
    return xr.DataArray(
        np.array(rows).reshape(-1, len(quantiles)),
        dims=("class", "quantile"),
        coords={"class": classes, "quantile": list(quantiles)},
    )


def class_damage(units: xr.Dataset, channel: int) -> xr.Dataset | None:
    """Return what breaks in each class when a unit is ablated.

    Parameters
    ----------
    units
        Table of the units of one layer of one network, with ``channel`` on ``unit``.
    channel
        The unit.

    Returns
    -------
    Dataset on the dimension ``class``: ``class_loss_increase`` (nats) and
    ``class_accuracy_drop``, each with its ``_se`` and, where pairs of unit and sample were drawn,
    its ``_sampling_se``; of the accuracy drop also the ends of its interval, ``_low`` and
    ``_high``. Classes without a number are left out. None where the table has no damage by class,
    or none for this unit.
    """
    names = [
        str(name)
        for name, value in units.data_vars.items()
        if set(value.dims) == {"unit", "class"}
        and str(name).startswith(("class_loss_increase", "class_accuracy_drop"))
    ]
    if not names:
        return None
    damage = units[names].isel(unit=_place(units, channel)).load()
    damage = damage.drop_vars([name for name in damage.coords if name != "class"])
    known = ~np.isnan(damage[names[0]].values)
    return damage.isel({"class": np.flatnonzero(known)}) if known.any() else None


def top_responses(column: xr.DataArray, count: int = 12) -> xr.Dataset:
    """Return the samples that a unit responds to most.

    Parameters
    ----------
    column
        Activations of the unit, of shape (sample,), with the coordinates of the samples.
    count
        Number of samples.

    Returns
    -------
    Dataset on the dimension ``sample``, by falling activation: ``activation`` and ``quantile``,
    the share of samples with a smaller rank, from 0 to 1; with the coordinates of the samples.
    Samples whose activation is NaN are left out; of equal activations the first comes first.
    """
    order = _falling(column)
    return _responses(column, order[:count], 1 - np.arange(min(count, order.size)) / _last(order))


def spread_responses(column: xr.DataArray, count: int = 12, *, seed: int = 0) -> xr.Dataset:
    """Return samples that are spread over the quantiles of the activations of a unit.

    Parameters
    ----------
    column
        Activations of the unit, of shape (sample,), with the coordinates of the samples.
    count
        Number of samples: one is drawn from each of as many equal parts of the ranks.
    seed
        Seed of the draws.

    Returns
    -------
    As :func:`top_responses`, by falling activation.
    """
    order = _falling(column)
    count = min(count, order.size)
    edges = np.linspace(0, order.size, count + 1).astype(np.int64)
    draw = seeded(seed, "spread of responses").random(count)
    ranks = (edges[:-1] + draw * np.diff(edges)).astype(np.int64)
    return _responses(column, order[ranks], 1 - ranks / _last(order))


def mapped_responses(column: xr.DataArray, mapped: npt.ArrayLike, count: int = 12) -> xr.Dataset:
    """Return the samples that a unit responds to most among those with kept feature maps.

    Parameters
    ----------
    column
        Activations of the unit, of shape (sample,), with the coordinate ``index``.
    mapped
        ``index`` of the samples with feature maps, the coordinate ``map_sample`` of the layer.
    count
        Number of samples.

    Returns
    -------
    As :func:`top_responses`, the quantile among all samples.
    """
    order = _falling(column)
    ranks = np.flatnonzero(np.isin(column["index"].values[order], np.asarray(mapped)))[:count]
    return _responses(column, order[ranks], 1 - ranks / _last(order))


def top_from_statistics(
    statistics: xr.Dataset, layer: str, channel: int, count: int = 12
) -> xr.Dataset:
    """Return what :func:`top_responses` returns, from class statistics in place of activations.

    Parameters
    ----------
    statistics
        What :func:`unitlens.class_statistics` returns.
    layer, channel
        The unit.
    count
        Number of samples.
    """
    one = statistics.sel(layer=layer, channel=channel).isel(unit=0)
    index = one["top_sample"].values
    kept = np.flatnonzero(index != _NO_CLASS)[:count]
    samples = max(1, int(statistics["count"].sum()) - 1)
    return xr.Dataset(
        {
            "activation": ("sample", one["top_activation"].values[kept]),
            "quantile": ("sample", 1 - kept / samples),
        },
        coords={
            "index": ("sample", index[kept]),
            "label": ("sample", one["top_class"].values[kept]),
        },
    )


def _falling(column: xr.DataArray) -> npt.NDArray[np.int64]:
    """Return the places of the samples by falling activation, without those that are NaN."""
    values = column.values.astype(np.float64)
    order = np.argsort(-values, kind="stable")
    return order[: int((~np.isnan(values)).sum())]


def _last(order: npt.NDArray[np.int64]) -> int:
    return max(1, order.size - 1)


def _responses(
    column: xr.DataArray, places: npt.NDArray[np.int64], quantiles: npt.ArrayLike
) -> xr.Dataset:
    rows = column.isel(sample=places)
    return xr.Dataset(
        {"activation": rows.astype(np.float64), "quantile": ("sample", np.asarray(quantiles))}
    )
