"""Intervals of accuracy drops for tables of unitlens before 0.9, from what these tables hold."""

import numpy as np
import xarray as xr

from unitlens.analysis.drop_intervals import Floats, MeasuredDrops, interval_variables

_SHARES = ("top1", "top5")  # scores whose hits are 0 or 1
_WHOLE = 0.01  # largest distance from a whole number of what rounding to it explains
_ROUNDING = 1e-9  # relative


def with_intervals(table: xr.Dataset) -> xr.Dataset:
    """Return a table of unit ablation with the intervals of its accuracy drops.

    The standard error, the drop and the number of samples tell how many hits change, so that the
    intervals are those that a new ablation gives.

    Parameters
    ----------
    table
        A table of :func:`unitlens.unit_ablation`.

    Returns
    -------
    The table: as it is where it has intervals, or where they do not follow from it (drawn pairs,
    positions as samples, scores of the user's own). The intervals by class are left out where
    :func:`class_samples` does not find the numbers of samples.
    """
    told = table.attrs.get("score") in _SHARES and "positions" not in table.attrs
    if not told or {"accuracy_drop_low", "accuracy_drop_sampling_se"} & set(table):
        return table
    drops = [_drops(table, "accuracy_drop", np.float64(table.attrs["samples"]))]
    samples = class_samples(table)
    if samples is not None:
        drops.append(_drops(table, "class_accuracy_drop", samples))
    return table.assign(
        {
            name: (("unit", "class")[: values.ndim], values)
            for name, values in interval_variables(*drops).items()
        }
    )


def _drops(table: xr.Dataset, name: str, samples: Floats | np.float64) -> MeasuredDrops:
    dims = ("unit", "class")[: table[name].ndim]
    drop, error = (table[f"{name}{end}"].transpose(*dims).values for end in ("", "_se"))
    # A single sample has no error: it changes or not.
    changed = np.where(samples > 1, error**2 * (samples - 1) + drop**2, np.abs(drop))
    return MeasuredDrops(drop, error, changed, samples)


def class_samples(table: xr.Dataset) -> Floats | None:
    """Return the numbers of samples of the classes, found from the importance by class.

    Parameters
    ----------
    table
        A table of :func:`unitlens.unit_ablation`.

    Returns
    -------
    Numbers on ``class``, 0 for a class without samples. None where the table has no importance by
    class or does not settle the numbers, as with fewer units than classes.

    Notes
    -----
    The loss increase ``d`` over all n samples is the mean of those by class, weighted by the
    numbers of samples: ``sum_c n_c d_c = n d`` for every unit, and for accuracy drops; and
    ``sum_c n_c = n``. The numbers are taken where these equations have one solution, it is whole,
    and the whole numbers fulfil the equations.
    """
    if "class_loss_increase" not in table:
        return None
    total = float(table.attrs["samples"])
    names = ("loss_increase", "accuracy_drop")
    by_class = [table[f"class_{name}"].transpose("unit", "class").values for name in names]
    here = np.isfinite(by_class[0]).all(axis=0)
    if not here.any():
        return None
    rows = np.concatenate([*(values[:, here] for values in by_class), np.ones((1, here.sum()))])
    sums = np.concatenate([*(total * table[name].values for name in names), [total]])
    known = np.isfinite(rows).all(axis=1) & np.isfinite(sums)
    rows, sums = rows[known], sums[known]
    found, _, rank, _ = np.linalg.lstsq(rows, sums)
    whole = np.rint(found)
    if rank < here.sum() or np.abs(found - whole).max(initial=0) > _WHOLE or (whole < 1).any():
        return None
    if (np.abs(rows @ whole - sums) > _ROUNDING * (np.abs(rows) @ whole)).any():
        return None
    samples = np.zeros(len(here))
    samples[here] = whole
    return samples
