"""Cumulative ablation curves of several values and bases in one table."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError
from unitlens.variables.checks import annotate


def join_variants(variants: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join curves of the same units and samples that differ in value or basis.

    Parameters
    ----------
    variants
        What :func:`unitlens.cumulative_ablation` returns, with the attributes ``value`` and
        ``basis``, the main curves first.

    Returns
    -------
    One Dataset of the schema ``cumulative_ablation`` with the attributes of the first and the
    coordinates ``value`` and ``basis`` on ``order``. Orders of the first keep their names; those
    of the others are called ``{value}-{basis}-{order}`` (``mean-units-random-0``).

    Raises
    ------
    ArgumentError
        Where the curves have other numbers of ablated units, or one variant is there twice.
    """
    main, *others = variants
    named = [main]
    for other in others:
        if not np.array_equal(other["ablated_units"], main["ablated_units"]):
            raise ArgumentError(
                f"the curves along {other.attrs['basis']} ablate up to "
                f"{int(other['ablated_units'].max())} directions, but the main ones "
                f"{int(main['ablated_units'].max())}; give all the same layers, points and "
                "numbers of directions"
            )
        prefix = f"{other.attrs['value']}-{other.attrs['basis']}"
        names = [f"{prefix}-{order}" for order in other["order"].values]
        named.append(other.assign_coords(order=np.array(names, object)))
    joined = xr.concat([_with_variant(one) for one in named], "order", combine_attrs="override")
    names = joined["order"].values.tolist()
    if len(set(names)) < len(names):
        raise ArgumentError("a value and basis is there twice; join each variant once")
    return annotate(joined, "cumulative_ablation")


def _with_variant(curves: xr.Dataset) -> xr.Dataset:
    """Return curves whose orders say which value and basis they are of, by the attributes."""
    size = curves.sizes["order"]
    return curves.assign_coords(
        {name: ("order", np.full(size, curves.attrs[name], object)) for name in ("value", "basis")}
    )
