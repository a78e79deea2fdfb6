"""One unit: how it differs between classes, and what its ablation does to each class."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.drop_intervals import interval_ends
from unitlens.plot.canvas import axis_text, drawing_on
from unitlens.plot.needed_tables import need_dimensions, need_variables, one_unit, unit_name
from unitlens.plot.style import COLOURS, GREY, draw_zero

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STATISTICS = (
    "a unit of what unitlens.network_statistics or unitlens.class_statistics returns, for example "
    "its .isel(unit=0)"
)
_ABLATION = (
    "a unit of what unitlens.unit_ablation returns for a dataset with classes, for example its "
    ".isel(unit=0)"
)
MOST_NAMES = 20  # classes that an axis names; of more classes, some


def class_profile(unit: xr.Dataset, *, ax: "Axes | None" = None) -> "Axes":
    r"""Draw the mean activation of one unit over the samples of each class.

    The bar of the largest mean has a colour of its own. Lines are the standard error of the mean,
    the sample standard deviation (n - 1) over the root of the number n of samples of the class,
    where the table has variances and numbers. The mean of a class of one sample has no line.

    Parameters
    ----------
    unit
        One unit of what :func:`unitlens.class_statistics`, :func:`unitlens.network_statistics` or
        ``results.class_statistics`` returns, for example ``stats.isel(unit=0)``; ``class_mean`` on
        ``class``. With ``class_variance`` and ``count``, standard errors are drawn.
    ax
        Axes to draw into; a new figure with one axes if None.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table lacks ``class_mean``, or has several units.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> unit = xr.Dataset(
    ...     {
    ...         "class_mean": ("class", [0.2, 1.5]),
    ...         "class_variance": ("class", [0.4, 0.9]),
    ...         "count": ("class", [10, 10]),
    ...     }
    ... )
    >>> ax = ul.plot.class_profile(unit)
    >>> ax.get_ylabel(), [float(bar.get_height()) for bar in ax.patches]
    ('mean activation\n(± standard error)', [0.2, 1.5])
    """
    need_variables(unit, ("class_mean",), _STATISTICS)
    own = one_unit(unit, "class_profile")
    need_dimensions(own, "class_mean", ("class",), _STATISTICS)
    means, errors = own["class_mean"].values, None
    if {"class_variance", "count"} <= set(own.variables):
        with np.errstate(divide="ignore", invalid="ignore"):
            count = own["count"].values  # class_variance is the mean square, over n
            errors = np.sqrt(own["class_variance"].values / np.where(count > 1, count - 1, np.nan))
    with drawing_on(ax, height=3.2) as axes:
        _draw_classes(axes, own, means, errors)
        axes.set_ylabel("mean activation" + ("" if errors is None else "\n(± standard error)"))
    return axes


def class_damage(
    unit: xr.Dataset, *, variable: str = "class_accuracy_drop", ax: "Axes | None" = None
) -> "Axes":
    r"""Draw what the ablation of one unit does to the accuracy of each class.

    The bar of the largest drop has a colour of its own. Lines are 95 % intervals over the samples
    of the class. Where the table has none, as for the loss increase and in tables of unitlens
    before 0.9, they are the standard error, paired over samples. The largest of several noisy drops
    is biased upwards.

    Parameters
    ----------
    unit
        One unit of what :func:`unitlens.unit_ablation` returns, or of ``results.units``, for
        example ``importance.isel(unit=0)``.
    variable
        ``class_accuracy_drop`` or ``class_loss_increase``.
    ax
        Axes to draw into; a new figure with one axes if None.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table lacks `variable`, or has several units.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> unit = xr.Dataset(
    ...     {
    ...         "class_accuracy_drop": ("class", [0.0, 0.25]),
    ...         "class_accuracy_drop_low": ("class", [-0.02, 0.15]),
    ...         "class_accuracy_drop_high": ("class", [0.02, 0.33]),
    ...     }
    ... )
    >>> ax = ul.plot.class_damage(unit)
    >>> ax.get_ylabel(), [float(bar.get_height()) for bar in ax.patches]
    ('accuracy drop of a class\n(95 % intervals)', [0.0, 0.25])
    """
    need_variables(unit, (variable,), _ABLATION)
    own = one_unit(unit, "class_damage")
    need_dimensions(own, variable, ("class",), _ABLATION)
    errors, words = _lines(own, variable)
    with drawing_on(ax, height=3.2) as axes:
        _draw_classes(axes, own, own[variable].values, errors)
        draw_zero(axes)
        axes.set_ylabel(axis_text(own, variable) + words)
    return axes


def _lines(unit: xr.Dataset, variable: str) -> tuple[np.ndarray | None, str]:
    """Return the lengths of the lines of a variable below and above, and words for them."""
    ends = interval_ends(unit, variable)
    if ends is not None:
        value = unit[variable].values
        return np.maximum([value - ends[0], ends[1] - value], 0), "\n(95 % intervals)"
    if f"{variable}_se" in unit.variables:
        return unit[f"{variable}_se"].values, "\n(± standard error)"
    return None, ""


def _draw_classes(
    axes: "Axes", unit: xr.Dataset, values: np.ndarray, errors: np.ndarray | None
) -> None:
    """Draw a bar for each class, the largest in a colour of its own, and name the classes."""
    shades = [GREY] * values.size
    is_any_known = bool(np.isfinite(values).any())
    if is_any_known and np.nanmax(values) > np.nanmin(values):
        shades[int(np.nanargmax(values))] = COLOURS[1]
    lines: dict[str, Any] = {"elinewidth": 1.1, "capsize": 2.5, "ecolor": "black"}
    axes.bar(range(values.size), values, yerr=errors, color=shades, error_kw=lines)
    names = unit["class"].values if "class" in unit.coords else np.arange(values.size)
    places = np.arange(0, values.size, -(-values.size // MOST_NAMES))
    texts = [str(names[place]) for place in places]
    long = max(map(len, texts)) > 2
    axes.set_xticks(places, texts, rotation=40 if long else 0, ha="right" if long else "center")
    axes.grid(visible=False, axis="x")
    of = unit_name(unit)
    axes.set_xlabel(f"class ({of})" if of else "class")
