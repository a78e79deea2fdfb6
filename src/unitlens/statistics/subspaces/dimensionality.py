"""Dimensionality of a layer: over how many directions its activations spread."""

import logging
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import delayed

from unitlens.statistics.activation_layers import ActivationLayer, activation_layers, computed
from unitlens.statistics.block_states import Floats, merged
from unitlens.statistics.subspaces.scatter_matrix import merge_scatters, scatter_of
from unitlens.variables.checks import annotate

logger = logging.getLogger("unitlens")

_SHARE = 0.95  # of the variance, that `components_95` holds


def layer_dimensionality(acts: xr.DataTree) -> xr.Dataset:
    """Compute the dimensionality of every layer's activations, in one pass over each.

    Parameters
    ----------
    acts
        Activations as :func:`unitlens.open_activations` gives them: one child a layer with
        ``activation`` (sample, unit), lazy or not.

    Returns
    -------
    A table of schema ``layer_dimensionality`` on ``layer``, with coordinate ``depth``:
    ``participation_ratio``, from 1 (all variance along one direction) to the number of units
    (equal variance along all); ``components_95``, the least number of principal components that
    hold .95 of the variance. NaN and -1 where a layer has NaN or infinite activations, or none
    of its units varies.

    Raises
    ------
    TableError
        Where `acts` holds no layers.

    Notes
    -----
    With l_k the variances of the principal components (eigenvalues of the covariance S of the
    units), the participation ratio is (sum_k l_k)^2 / sum_k l_k^2 = trace(S)^2 / trace(S^2)
    (Abbott, Rajan & Sompolinsky, "Interactions between intrinsic and stimulus-evoked activity in
    recurrent neural networks", in The Dynamic Brain, 2011). Neither can be above the number of
    samples less one, and with few samples for the units both are too small.

    One layer after the other, out of core, as :func:`unitlens.principal_components`; its memory
    too.
    """
    layers = activation_layers(acts)
    logger.info("dimensionality of %d layers", len(layers))
    variances = [_variances(layer) for layer in layers]
    table = xr.Dataset(
        {
            "participation_ratio": ("layer", [_participation_ratio(one) for one in variances]),
            "components_95": ("layer", [_components(one) for one in variances]),
        },
        coords={
            "layer": np.array([layer.name for layer in layers], object),
            "depth": ("layer", [layer.depth for layer in layers]),
        },
    )
    return annotate(table, "layer_dimensionality")


def _variances(layer: ActivationLayer) -> Floats | None:
    """Return the variances of the principal components, descending, as shares of their sum.

    None where a layer has activations that are not finite, or no unit varies.
    """
    from scipy.linalg import eigvalsh

    state = computed(_layer_scatter(layer))
    total = state.scatter.trace()
    if not (np.isfinite(state.scatter).all() and total > 0):
        return None
    return np.asarray(eigvalsh(state.scatter / total, overwrite_a=True).clip(0.0)[::-1])


def _layer_scatter(layer: ActivationLayer) -> Any:
    """Return the delayed scatter of all samples; each block has whole rows."""
    blocks = layer.activation.data.rechunk({1: -1}).to_delayed()[:, 0]
    state = delayed(scatter_of, traverse=False)
    return merged([state(block) for block in blocks], merge_scatters)


def _participation_ratio(variances: Floats | None) -> float:
    return float("nan") if variances is None else float(variances.sum() ** 2 / (variances**2).sum())


def _components(variances: Floats | None) -> int:
    if variances is None:
        return -1
    held = variances.cumsum() / variances.sum()
    return int((held < _SHARE).sum()) + 1
