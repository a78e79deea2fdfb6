"""The axes that a plot draws into: given ones, or new ones in the style of all figures."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from unitlens.extras import naming_extras
from unitlens.plot.style import STYLE, WIDTH, show_dollars
from unitlens.variables.declarations import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr
    from matplotlib.axes import Axes

_NO_UNITS = ("", "1")


@contextmanager
def drawing_on(ax: "Axes | None", *, height: float = 3.8, width: float = WIDTH) -> "Iterator[Axes]":
    """Give the axes to draw into, in the style of all figures.

    Parameters
    ----------
    ax
        Axes of the caller. Where None, pyplot makes a figure with one axes, so that a notebook
        shows the figure.
    height, width
        Size of a new figure in inches.
    """
    with naming_extras():
        from matplotlib import pyplot as plt
        from matplotlib import rc_context

    with rc_context(STYLE):
        if ax is None:
            _, ax = plt.subplots(figsize=(width, height), layout="constrained")
        yield ax
        show_dollars(ax)


def draw_marks(
    axes: "Axes", marks: "Mapping[str, Any] | None" = None, *, beside: bool, title: str = ""
) -> None:
    """Draw a legend on the axes.

    Parameters
    ----------
    axes
        The axes.
    marks
        The marks by their texts; those of everything on the axes that has a label if None.
        Matplotlib leaves out labels that begin with an underscore, which a layer's name may.
    beside
        Whether the legend stands to the right of the axes, where it covers no data. A figure of
        the caller may have no room there.
    title
        Heading of the legend.
    """
    place: dict[str, Any] = {"loc": "best"}
    if beside:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
    if marks is not None:
        place |= {"handles": list(marks.values()), "labels": list(marks)}
    legend = axes.legend(title=title or None, **place)
    legend.get_title().set_fontsize(9)


def drawn_before(axes: "Axes") -> int:
    """Return how many labelled things the axes have: the place of the next colour."""
    return len(axes.get_legend_handles_labels()[1])


def networks(count: int) -> str:
    """Return "1 network" or "n networks"."""
    return f"{count} network" if count == 1 else f"{count} networks"


def noise_text(noise: "xr.Dataset") -> str:
    """Return the name of the axis of noise scales, by what has noise of its own in a table.

    Examples
    --------
    >>> import xarray as xr
    >>> noise_text(xr.Dataset(attrs={"per": "element"}))
    "noise scale (standard deviations of a unit's elements)"
    """
    of = {"element": " of a unit's elements", "unit": " of each unit"}
    # A table of networks with several kinds of noise does not say which.
    return f"noise scale (standard deviations{of.get(str(noise.attrs.get('per')), '')})"


def axis_text(table: "xr.Dataset", name: str) -> str:
    """Return the name of a variable for an axis, with its units.

    Examples
    --------
    >>> import xarray as xr
    >>> axis_text(xr.Dataset({"loss_increase": ("unit", [0.1])}), "loss_increase")
    'loss increase (nats)'
    """
    declared = VARIABLES.get(name)
    attributes = table[name].attrs
    words = attributes.get("long_name") or (declared.long_name if declared else name)
    units = attributes.get("units") or (declared.units if declared else "")
    return str(words) if units in _NO_UNITS else f"{words} ({units})"
