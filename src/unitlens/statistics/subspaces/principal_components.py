"""Principal components of a layer: the directions in which its activations vary most."""

import logging
from typing import overload

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError, TableError
from unitlens.statistics.activation_layers import ActivationLayer, select_layers
from unitlens.statistics.block_states import Floats
from unitlens.statistics.subspaces.scatter_matrix import layer_scatter
from unitlens.variables.checks import annotate
from unitlens.variables.unit_index import unit_coordinates

logger = logging.getLogger("unitlens")


@overload
def principal_components(
    acts: xr.DataTree, layer: str, *, components: int | None = None
) -> xr.Dataset: ...


@overload
def principal_components(
    acts: xr.DataTree, layer: None = None, *, components: int | None = None
) -> dict[str, xr.Dataset]: ...


def principal_components(
    acts: xr.DataTree, layer: str | None = None, *, components: int | None = None
) -> xr.Dataset | dict[str, xr.Dataset]:
    """Compute the principal components of the activations of layers, in one pass over each layer.

    Parameters
    ----------
    acts
        Activations as :func:`unitlens.open_activations` returns them: a tree with one child for
        each layer with ``activation`` (sample, unit), lazy or in memory.
    layer
        Name of one layer; all layers if None.
    components
        Number of components, at least 1; as many as units if None. Of one layer, at most the
        number of its units; of all layers, a layer with fewer units has as many as units.

    Returns
    -------
    Of one layer, a table of schema ``principal_components``. ``component`` (direction, unit) holds
    orthonormal rows by descending variance; the entry of largest magnitude of each row is positive.
    ``explained_variance`` (direction) is the population variance of the activations projected on
    the component (divided by the number of samples, not by one less). ``explained_variance_ratio``
    (direction) is the share of the variance of all units, NaN where no unit varies. ``mean``
    (unit) is the mean activation. Components of equal variance are an arbitrary orthonormal basis
    of their space, as are components without variance (where there are fewer samples than units,
    for example).

    Of all layers, a dict of such tables by layer, in the order of the forward pass, as
    ``results.principal_components(run)`` returns it. :func:`unitlens.direction_ablation` takes
    ``[table["component"] for table in tables.values()]``.

    Raises
    ------
    ArgumentError
        Where `components` is out of its range.
    LayerError
        Where `acts` has no such layer.
    TableError
        Where `acts` holds no layers, or a layer has fewer than two samples or activations that
        are NaN or infinite.

    Notes
    -----
    Each block (a shard of the store) is reduced to a count, a mean and a scatter matrix in
    float64. These are merged by a tree, and the covariance is decomposed at the end. Memory: one
    block for each thread, and matrices of (units, units), whose number grows with the logarithm of
    the number of blocks. The pass runs on the scheduler that dask is set to.

    Source: Pearson, "On lines and planes of closest fit to systems of points in space",
    Philosophical Magazine 2, 1901.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> line = [[0.0, 0], [3, 4], [6, 8]]  # all activations along (0.6, 0.8)
    >>> layer = xr.Dataset({"activation": (("sample", "unit"), line)})
    >>> acts = xr.DataTree.from_dict({"/relu": layer})
    >>> ul.principal_components(acts, "relu", components=1)["component"].values.round(3)
    array([[0.6, 0.8]])
    >>> list(ul.principal_components(acts))
    ['relu']
    """
    layers = select_layers(acts, layer)
    numbers = [_number_of(components, one, at_most=layer is None) for one in layers]
    tables = {one.name: _table(one, number) for one, number in zip(layers, numbers, strict=True)}
    return tables if layer is None else tables[layer]


def _number_of(components: int | None, layer: ActivationLayer, *, at_most: bool) -> int:
    """Return the number of components of a layer, after a check of all sizes.

    `at_most` tells whether a number above the number of units stands for all units.
    """
    samples, units = (layer.table.sizes[name] for name in ("sample", "unit"))
    number = units if components is None else components
    if at_most:
        number = min(number, units)
    if not 1 <= number <= units:
        raise ArgumentError(
            f"components is {components}, but must be from 1 to {units}, the units of layer "
            f"'{layer.name}'"
        )
    if samples < 2:
        raise TableError(
            f"layer '{layer.name}' has activations of {samples} samples, but principal "
            "components need at least 2; record more samples"
        )
    return number


def _table(layer: ActivationLayer, components: int) -> xr.Dataset:
    """Return the table of the first components of a layer."""
    logger.info("principal components of layer '%s', %d units", layer.name, len(layer.channel))
    state = layer_scatter(layer, finite=True)
    total = state.scatter.trace() / state.count
    covariance = np.divide(state.scatter, state.count, out=state.scatter)  # may be large: no copy
    variance, rows = _decomposed(covariance, components)
    table = xr.Dataset(
        {
            "component": (("direction", "unit"), rows),
            "explained_variance": ("direction", variance),
            "explained_variance_ratio": (
                "direction",
                variance / total if total > 0 else np.full(components, np.nan),
            ),
            "mean": ("unit", state.mean),
        },
        coords=unit_coordinates([layer.units]) | {"direction": np.arange(components)},
        attrs={"samples": state.count},
    )
    return annotate(table, "principal_components")


def _decomposed(covariance: Floats, components: int) -> tuple[Floats, Floats]:
    """Return the largest eigenvalues, descending, and their eigenvectors as rows, signed.

    The matrix is overwritten.
    """
    from scipy.linalg import eigh

    # Divide and conquer: of LAPACK's drivers, this one's vectors are most nearly orthogonal.
    # The transpose has the same entries in the order that LAPACK overwrites without a copy.
    variance, vectors = eigh(covariance.T, overwrite_a=True, check_finite=False, driver="evd")
    variance, rows = variance[::-1][:components], vectors.T[::-1][:components]
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    # Rounding may take the variance of a direction without variance below 0.
    return np.maximum(variance, 0), rows * np.sign(largest)
