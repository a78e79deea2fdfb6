"""Principal components of a layer: the directions in which its activations vary most."""

import logging
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import delayed

from unitlens.errors import (
    ArgumentError,
    LayerError,
    TableError,
    nearest,
)
from unitlens.statistics.activation_layers import (
    ActivationLayer,
    activation_layers,
    computed,
)
from unitlens.statistics.block_states import Floats, Integers, Values, merged
from unitlens.statistics.subspaces.scatter_matrix import Scatter, merge_scatters, scatter_of
from unitlens.variables.checks import annotate
from unitlens.variables.unit_index import unit_coordinates

logger = logging.getLogger("unitlens")


def principal_components(
    acts: xr.DataTree, layer: str, *, components: int | None = None
) -> xr.Dataset:
    """Compute the principal components of one layer's activations, in one pass.

    Parameters
    ----------
    acts
        Activations as :func:`unitlens.open_activations` gives them: one child a layer with
        ``activation`` (sample, unit), lazy or not.
    layer
        Name of the layer.
    components
        Number of components, from 1 to the number of units; as many as units if None.

    Returns
    -------
    A table of schema ``principal_components``: ``component`` (direction, unit), orthonormal rows
    by descending variance, the entry of largest magnitude of each positive;
    ``explained_variance`` (direction), the population variance of the activations projected on
    it (divided by the number of samples, not one less); ``explained_variance_ratio``
    (direction), its share of the variance of all units, NaN where no unit varies; and ``mean``
    (unit). Components of equal variance are any orthonormal basis of their space, as are those
    of none, with fewer samples than units for instance.

    Raises
    ------
    ArgumentError
        Where `components` is out of its range.
    LayerError
        Where `acts` has no such layer.
    TableError
        Where `acts` holds no layers, or the layer fewer than two samples or activations that
        are NaN or infinite.

    Notes
    -----
    Each block (a shard of the store) is reduced by itself to a count, a mean and a scatter
    matrix, in float64, and these are merged by a tree; the covariance is decomposed at the end.
    Memory: a block for each thread, and some matrices of (units, units), more of them by the
    logarithm of the number of blocks. Runs on whichever scheduler dask is set to.

    Source: Pearson, "On lines and planes of closest fit to systems of points in space",
    Philosophical Magazine 2, 1901.
    """
    chosen = _find_layer(activation_layers(acts), layer)
    units = chosen.table.sizes["unit"]
    wanted = units if components is None else components
    _check_sizes(chosen, wanted)
    logger.info("principal components of layer '%s', %d units", layer, units)
    state = computed(_layer_state(chosen))
    _check_finite(state, layer, chosen.channel)
    return _table(state, chosen, wanted)


def _find_layer(layers: list[ActivationLayer], name: str) -> ActivationLayer:
    for layer in layers:
        if layer.name == name:
            return layer
    known = [layer.name for layer in layers]
    raise LayerError(f"the activations have no layer '{name}'; {nearest(name, known)}")


def _check_sizes(layer: ActivationLayer, components: int) -> None:
    samples, units = (layer.table.sizes[name] for name in ("sample", "unit"))
    if not 1 <= components <= units:
        raise ArgumentError(
            f"components is {components}, but must be from 1 to {units}, the units of layer "
            f"'{layer.name}'"
        )
    if samples < 2:
        raise TableError(
            f"layer '{layer.name}' has activations of {samples} samples, but principal "
            "components need at least 2; record more"
        )


def _layer_state(layer: ActivationLayer) -> Any:
    """Return the delayed scatter of all samples; each block has whole rows."""
    blocks = layer.activation.data.rechunk({1: -1}).to_delayed()[:, 0]
    state = delayed(_block_state, traverse=False)
    return merged([state(block, layer.name, layer.channel) for block in blocks], merge_scatters)


def _block_state(values: Values, layer: str, channels: Integers) -> Scatter:
    state = scatter_of(values)
    _check_finite(state, layer, channels)  # here already: the pass may be long
    return state


def _check_finite(state: Scatter, layer: str, channels: Integers) -> None:
    bad = channels[~np.isfinite(state.scatter.diagonal())]
    if bad.size:
        raise TableError(
            f"layer '{layer}' has activations that are NaN, infinite or too large to be squared "
            f"(channel {', '.join(map(str, bad[:5]))}{' and others' if bad.size > 5 else ''}), but "
            "principal components need finite ones; leave these units out of the layer's "
            "'activation' with isel, or choose another layer"
        )


def _table(state: Scatter, layer: ActivationLayer, components: int) -> xr.Dataset:
    variance, rows = _decomposed(state.scatter / state.count, components)
    total = state.scatter.trace() / state.count
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
    """Return the largest eigenvalues, descending, and their eigenvectors as rows, signed."""
    from scipy.linalg import eigh

    # divide and conquer: of LAPACK's drivers the one whose vectors are most nearly orthogonal
    variance, vectors = eigh(covariance, overwrite_a=True, check_finite=False, driver="evd")
    variance, rows = variance[::-1][:components], vectors.T[::-1][:components]
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    # rounding may take the variance of a direction without any below 0
    return np.maximum(variance, 0), rows * np.sign(largest)
