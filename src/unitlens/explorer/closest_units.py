"""The units of a layer whose activations correlate most with those of one unit."""

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.seeds import seeded

MOST_SAMPLES = 4096  # that correlations are computed over
_STRETCHES = 16  # of consecutive samples, which lie in few chunks of a store
_BLOCK = 2048  # units that are in memory at a time
_CHUNK_BYTES, _CHUNK_UNITS = 2**20, 128  # of a chunk of a store, about


def correlation_samples(samples: int, most: int = MOST_SAMPLES, *, seed: int = 0) -> list[slice]:
    """Return the samples that correlations are computed over, as stretches of a store.

    Parameters
    ----------
    samples
        Number of samples of the store.
    most
        Number of samples that are read at most.
    seed
        Seed of the draws.

    Returns
    -------
    All samples where there are not more than `most`; otherwise equal parts of the samples, and in
    each of them a stretch of consecutive samples that begins at random.

    Examples
    --------
    >>> correlation_samples(100)
    [slice(0, 100, None)]
    >>> sum(part.stop - part.start for part in correlation_samples(10**6))
    4096
    """
    if samples <= most:
        return [slice(0, samples)]
    edges = np.linspace(0, samples, min(_STRETCHES, most) + 1).astype(np.int64)
    length = most // (edges.size - 1)
    draw = seeded(seed, "samples of correlations").random(edges.size - 1)
    starts = edges[:-1] + (draw * (np.diff(edges) - length + 1)).astype(np.int64)
    return [slice(start, start + length) for start in starts.tolist()]


def bytes_read(samples: int, units: int, itemsize: int) -> int:
    """Estimate how much of a store is read to find the closest units of a layer.

    Parameters
    ----------
    samples, units
        Shape of the activations of the layer.
    itemsize
        Bytes of a number.

    Returns
    -------
    Bytes before compression. A stretch of samples is read with the whole chunks that it lies in.

    Examples
    --------
    >>> bytes_read(1000, 512, 4), bytes_read(10**6, 512, 4)
    (2048000, 67108864)
    """
    parts = correlation_samples(samples)
    length = parts[0].stop - parts[0].start
    chunk = _CHUNK_BYTES // (min(units, _CHUNK_UNITS) * itemsize)
    rows = len(parts) * max(length, chunk) if len(parts) > 1 else samples
    return min(samples, rows) * units * itemsize


def closest_units(
    activations: xr.DataArray,
    place: int,
    count: int = 8,
    *,
    most_samples: int = MOST_SAMPLES,
    seed: int = 0,
) -> xr.Dataset:
    """Find the units of a layer whose activations correlate most with those of one unit.

    Parameters
    ----------
    activations
        Activations of the layer, dimensions (sample, unit), numpy or dask. They are read block
        after block of units.
    place
        Place of the unit on the dimension ``unit``.
    count
        Number of units that are returned at most.
    most_samples
        Number of samples that are read at most; see :func:`correlation_samples`.
    seed
        Seed of the draw of samples.

    Returns
    -------
    Dataset on the dimension ``unit``, by falling size of the correlation: ``place``, the place of
    the other unit, and ``correlation``, Pearson's, from -1 to 1. Units without a correlation, that
    are constant or have a NaN, are left out. The attributes ``samples`` and ``of_samples`` say
    how many samples were read, of how many.
    """
    activations = activations.transpose("sample", "unit")
    stretches = correlation_samples(activations.sizes["sample"], most_samples, seed=seed)
    own = _read(activations, stretches, slice(place, place + 1))[:, 0]
    units = activations.sizes["unit"]
    correlation = np.concatenate(
        [
            _correlations(own, _read(activations, stretches, slice(start, start + _BLOCK)))
            for start in range(0, units, _BLOCK)
        ]
    )
    correlation[place] = np.nan
    order = np.argsort(-np.nan_to_num(np.abs(correlation), nan=-1.0), kind="stable")
    order = order[: min(count, int((~np.isnan(correlation)).sum()))]
    return xr.Dataset(
        {"place": ("unit", order), "correlation": ("unit", correlation[order])},
        attrs={"samples": own.size, "of_samples": activations.sizes["sample"]},
    )


def _read(
    activations: xr.DataArray, stretches: list[slice], units: slice
) -> npt.NDArray[np.float64]:
    parts = [activations.isel(sample=part, unit=units) for part in stretches]
    whole = xr.concat(parts, "sample", coords="minimal", compat="override", join="override")
    return whole.to_numpy().astype(np.float64)


def _correlations(
    own: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    own = own - own.mean()
    constant = others.max(0) == others.min(0)
    others = others - others.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = own @ others / np.sqrt((own @ own) * (others * others).sum(0))
    value[constant] = np.nan  # rounding of the mean leaves constant units a tiny variance
    if np.ptp(own) == 0:
        value[:] = np.nan
    return np.asarray(np.clip(value, -1, 1), np.float64)
