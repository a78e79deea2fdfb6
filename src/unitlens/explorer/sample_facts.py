"""What one sample does to the units of a network: activations against those of its class."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError

if TYPE_CHECKING:
    from unitlens.explorer.unit_source import UnitSource

CLASS_MOMENTS = ("class_mean", "class_variance")  # what is needed of class statistics


def sample_responses(
    source: "UnitSource", sample: int, statistics: xr.Dataset | None = None
) -> xr.Dataset:
    """Read the activations of all units on one sample, and compare them with those of its class.

    Parameters
    ----------
    source
        Where the activations come from.
    sample
        Place of the sample in the store.
    statistics
        Class statistics of the same split, as :func:`unitlens.class_statistics` returns them, of
        which :data:`CLASS_MOMENTS` are enough; None where there are none.

    Returns
    -------
    On ``unit`` with ``layer`` and ``channel``: ``activation``; and, with statistics of the class
    of the sample, ``class_mean`` and ``deviation``, the activation less the mean in standard
    deviations within the class. A deviation is NaN where the class has one value alone.

    Raises
    ------
    ArgumentError
        Where the source has no activations, or no such sample.
    """
    if source.activations is None:
        raise ArgumentError(
            f"sample = {sample}: there are no activations of this network to show; record them "
            "(the section activations of the configuration, or unitlens.record_activations)"
        )
    samples = source.activations.sizes["sample"]
    if not 0 <= sample < samples:
        raise ArgumentError(
            f"sample = {sample}: the store has {samples} samples; take one from 0 to {samples - 1}"
        )
    layers, label = [], sample_label(source, sample)
    for name, channels in source.channels.items():
        table = source.layer_activations(name)
        if table is None:
            continue
        row = table["activation"].isel(sample=sample).to_numpy().astype(np.float64)
        of_layer = xr.Dataset(
            {"activation": ("unit", row)},
            coords={"layer": ("unit", np.full(row.size, name)), "channel": ("unit", channels)},
        )
        layers.append(_with_class(of_layer, label, statistics))
    return xr.concat(layers, "unit")


def sample_label(source: "UnitSource", sample: int) -> int | None:
    """Return the label of a sample of the store; None where the samples have no classes.

    Parameters
    ----------
    source
        Where the label comes from.
    sample
        Place of the sample in the store.
    """
    if source.activations is None or source.no_classes or "label" not in source.activations.coords:
        return None
    return int(source.activations["label"].isel(sample=sample))


def strongest_units(responses: xr.Dataset, layer: str, count: int = 8) -> xr.Dataset:
    """Return the units of a layer that respond most to a sample, the strongest first.

    Parameters
    ----------
    responses
        What :func:`sample_responses` returns.
    layer
        The layer.
    count
        Largest number of units. They are ranked by deviation from the class where it is known,
        else by activation; NaN is not among them.
    """
    own = responses.isel(unit=np.flatnonzero(responses["layer"].values == layer))
    ranked = own["deviation" if "deviation" in own else "activation"].values
    known = np.flatnonzero(np.isfinite(ranked))
    return own.isel(unit=known[np.argsort(-ranked[known], kind="stable")[:count]])


def _with_class(
    of_layer: xr.Dataset, label: int | None, statistics: xr.Dataset | None
) -> xr.Dataset:
    """Add the mean of the sample's class, and the deviation from the mean."""
    if label is None or statistics is None or label not in statistics["class"].values:
        return of_layer
    layer = of_layer["layer"].values[0]
    own = statistics.isel(unit=np.flatnonzero(statistics["layer"].values == layer))
    place = {int(channel): at for at, channel in enumerate(own["channel"].values)}
    at = [place.get(int(channel), -1) for channel in of_layer["channel"].values]
    if min(at, default=-1) < 0:
        return of_layer
    of_class = own.isel(unit=at).sel({"class": label})
    mean = of_class["class_mean"].values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = (of_layer["activation"].values - mean) / np.sqrt(
            of_class["class_variance"].values
        )
    deviation[~np.isfinite(deviation)] = np.nan
    return of_layer.assign(class_mean=("unit", mean), deviation=("unit", deviation))
