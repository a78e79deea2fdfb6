"""The course of training: loss or accuracy after every epoch."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.plot.canvas import axis_text, draw_marks, drawing_on, drawn_before, networks
from unitlens.plot.needed_tables import need_dimensions, need_variables
from unitlens.plot.style import DASHES, colour, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HISTORY = (
    "the history of unitlens.open_results(...), or a Dataset of your own with "
    "train_{score} and test_{score} on 'epoch'"
)


def training_course(
    history: xr.Dataset,
    *,
    score: str = "loss",
    label: str = "",
    ax: "Axes | None" = None,
    **line: Any,
) -> "Axes":
    """Draw a score on the training set and on the test set after every epoch.

    Every network of the table is a pair of lines, dashed for the training set and solid for the
    test set. All networks of one call share a colour.

    Parameters
    ----------
    history
        ``results.history`` or a selection of its runs, or a Dataset of your own with
        ``train_loss`` and ``test_loss`` (or one of the two) on the dimension ``epoch``.
    score
        ``loss`` or ``accuracy``: the variables are ``train_`` and ``test_`` with this name.
    label
        Name of the networks in the legend; by default their number where there are several.
    ax
        Axes to draw into; a new figure with one axes if None.
    line
        Properties of all lines as Matplotlib names them, such as ``color``; by default the next
        colour of the palette.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table has neither of the two variables, or no ``epoch``.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> history = xr.Dataset(
    ...     {"train_loss": ("epoch", [2.3, 0.4, 0.1]), "test_loss": ("epoch", [2.3, 0.5, 0.6])},
    ...     coords={"epoch": [0, 1, 2]},
    ... )
    >>> ax = ul.plot.training_course(history)
    >>> ax.get_legend_handles_labels()[1]
    ['train loss', 'test loss']
    """
    source = _HISTORY.format(score=score)
    splits = {"train": DASHES[1], "test": DASHES[0]}
    names = [f"{split}_{score}" for split in splits]
    known = [name for name in names if name in getattr(history, "variables", ())] or names
    need_variables(history, (*known, "epoch"), source)
    with drawing_on(ax) as axes:
        style = {"color": colour(drawn_before(axes) // len(known))} | line
        for name in known:
            need_dimensions(history, name, ("run", "epoch"), source)
            dashed = {"linestyle": splits[name.partition("_")[0]]} | style
            rows = np.atleast_2d(history[name].transpose(..., "epoch").values)
            text = _label(name, label, len(rows))
            for row in rows[np.isfinite(rows).any(1)]:
                seen = np.isfinite(row)
                epochs = history["epoch"].values[seen]
                axes.plot(epochs, row[seen], label=text, **dashed)
                text = "_"  # one mark in the legend for all networks
        axes.set_xlabel("epoch of training")
        axes.set_ylabel(axis_text(history, known[-1]).removeprefix("test ").removeprefix("train "))
        axes.autoscale(axis="y")  # over the lines of earlier calls too
        axes.set_ylim(0, 1.03 if score == "accuracy" else None)
        whole_numbers(axes)
        draw_marks(axes, beside=False)
    return axes


def _label(name: str, label: str, rows: int) -> str:
    words = name.replace("_", " ")
    group = label or (networks(rows) if rows > 1 else "")
    return f"{group}: {words}" if group else words
