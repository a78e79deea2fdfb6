"""Dimensionality of a layer: the number of directions over which its activations spread."""

import logging

import numpy as np
import xarray as xr

from unitlens.statistics.activation_layers import ActivationLayer, select_layers
from unitlens.statistics.block_states import Floats
from unitlens.statistics.subspaces.scatter_matrix import layer_scatter
from unitlens.variables.checks import annotate

logger = logging.getLogger("unitlens")

_SHARE = 0.95  # of the variance, for `components_95`


def layer_dimensionality(acts: xr.DataTree, layer: str | None = None) -> xr.Dataset:
    """Compute the dimensionality of the activations of layers, in one pass over each layer.

    Parameters
    ----------
    acts
        Activations as :func:`unitlens.open_activations` returns them: a tree with one child for
        each layer with ``activation`` (sample, unit), lazy or in memory.
    layer
        Name of one layer; all layers if None.

    Returns
    -------
    A table of schema ``layer_dimensionality`` on ``layer``, with the coordinate ``depth``.
    ``participation_ratio`` runs from 1 (all variance along one direction) to the number of units
    (equal variance along all directions). ``components_95`` is the least number of principal
    components with .95 of the variance. NaN and -1 where a layer has NaN or infinite activations,
    or none of its units varies.

    Raises
    ------
    LayerError
        Where `acts` has no such layer.
    TableError
        Where `acts` holds no layers.

    Notes
    -----
    With l_k the variances of the principal components (eigenvalues of the covariance S of the
    units), the participation ratio is (sum_k l_k)^2 / sum_k l_k^2 = trace(S)^2 / trace(S^2)
    (Abbott, Rajan & Sompolinsky, "Interactions between intrinsic and stimulus-evoked activity in
    recurrent neural networks", in The Dynamic Brain, 2011). Neither number can exceed the number of
    samples less one. Both numbers are too small where there are few samples for the units.

    Layers are computed one after the other, out of core, with the memory of
    :func:`unitlens.principal_components`.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> square = [[1.0, 1], [1, -1], [-1, 1], [-1, -1]]  # equal variance along two directions
    >>> layer = xr.Dataset({"activation": (("sample", "unit"), square)})
    >>> acts = xr.DataTree.from_dict({"/tanh": layer})
    >>> ul.layer_dimensionality(acts, "tanh")["participation_ratio"].item()
    2.0
    """
    layers = select_layers(acts, layer)
    logger.info("dimensionality of %d layers", len(layers))
    variances = [_variances(one) for one in layers]
    table = xr.Dataset(
        {
            "participation_ratio": ("layer", [_participation_ratio(one) for one in variances]),
            "components_95": ("layer", [_components(one) for one in variances]),
        },
        coords={
            "layer": np.array([one.name for one in layers], object),
            "depth": ("layer", [one.depth for one in layers]),
        },
    )
    return annotate(table, "layer_dimensionality")


def _variances(layer: ActivationLayer) -> Floats | None:
    """Return the variances of the principal components, descending, as shares of their sum.

    None where a layer has activations that are not finite, or no unit varies.
    """
    from scipy.linalg import eigvalsh

    scatter = layer_scatter(layer).scatter
    total = scatter.trace()
    if not (np.isfinite(scatter).all() and total > 0):
        return None
    return np.asarray(eigvalsh(scatter / total, overwrite_a=True).clip(0.0)[::-1])


def _participation_ratio(variances: Floats | None) -> float:
    return float("nan") if variances is None else float(variances.sum() ** 2 / (variances**2).sum())


def _components(variances: Floats | None) -> int:
    """Return the least number of components with .95 of the variance, -1 without variances."""
    if variances is None:
        return -1
    cumulative = variances.cumsum() / variances.sum()
    return int((cumulative < _SHARE).sum()) + 1
