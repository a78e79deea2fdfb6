"""Colours of the points of the overview: by layer, run, class, or any measure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unitlens.explorer.axis_scales import Values
from unitlens.explorer.unit_columns import Rows, UnitColumns
from unitlens.plot.style import COLOURS

LAYER, RUN = "layer", "run"
OTHER = "other"
_NONE = "none"  # the class of a unit that has none


@dataclass(frozen=True)
class PointColours:
    """What colours the points.

    Attributes
    ----------
    label
        Words for what the colour tells.
    numbers
        A number for each point, for a scale of colours; NaN where there is none.
    categories
        The category of each point, as a place in ``names``; nothing where colours tell numbers.
    names
        Names of the categories.
    """

    label: str
    numbers: Values | None
    categories: Rows | None
    names: Sequence[str]

    @property
    def key(self) -> dict[str, str]:
        """The colour of each category."""
        return dict(zip(self.names, COLOURS, strict=False))


def colour_choices(columns: UnitColumns) -> dict[str, str]:
    """Return what points can be coloured by, under its label.

    Parameters
    ----------
    columns
        The units.
    """
    return {"layer": LAYER, "run": RUN} | columns.classes | columns.measures


def colour_points(columns: UnitColumns, by: str, rows: Rows) -> PointColours:
    """Return the colours of points.

    Parameters
    ----------
    columns
        The units.
    by
        ``layer``, ``run``, or the name of a variable. More than eight layers are coloured by their
        depth. Of more than eight runs or classes, the seven with most units have a colour of
        their own.
    rows
        The rows of the units that are drawn.
    """
    if by == LAYER:
        present = np.unique(columns.layer_codes[rows])
        if present.size > len(COLOURS):
            return PointColours("depth of the layer", columns.depths[rows].astype(float), None, ())
        return _categories("layer", columns.layer_codes[rows], columns.layers)
    if by == RUN:
        return _categories("run", columns.run_codes[rows], columns.short_runs)
    if by in columns.classes.values():
        classes = columns.values(by)[rows].astype(np.int64)
        known = np.unique(classes)
        names = [_NONE if value < 0 else str(value) for value in known]
        return _categories(columns.label(by), np.searchsorted(known, classes), names)
    return PointColours(columns.label(by), columns.values(by)[rows], None, ())


def _categories(label: str, codes: Rows, names: Sequence[str]) -> PointColours:
    """Return colours of categories, of which only those that are there count."""
    counts = np.bincount(codes, minlength=len(names))
    kept = np.flatnonzero(counts)
    if kept.size > len(COLOURS):
        kept = np.sort(np.argsort(-counts, kind="stable")[: len(COLOURS) - 1])
    place = np.full(len(names), kept.size)
    place[kept] = np.arange(kept.size)
    told = [str(names[code]) for code in kept.tolist()]
    if np.count_nonzero(counts) > kept.size:
        told.append(f"{OTHER} ({np.count_nonzero(counts) - kept.size} more)")
    return PointColours(label, None, place[codes], told)
