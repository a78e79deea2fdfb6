"""The units whose pages a saved page holds, and what each of them is chosen for."""

from collections.abc import Sequence

import numpy as np

from unitlens.explorer.unit_columns import Rows, UnitColumns, UnitName

IMPORTANCE = "loss_increase"
RANKED_BY = (IMPORTANCE, "accuracy_drop", "selectivity", "mutual_information")
IN_A_TABLE = 10  # units of largest value that a measure's table names


def ranking_measures(columns: UnitColumns) -> list[str]:
    """Return the names of the measures that units are ranked by, of those that the table has.

    Parameters
    ----------
    columns
        The units.
    """
    return [name for name in RANKED_BY if name in columns.measures.values()]


def top_units(columns: UnitColumns, measure: str, count: int = IN_A_TABLE) -> Rows:
    """Return the rows of the units with the largest values of a measure, the largest first.

    Parameters
    ----------
    columns
        The units.
    measure
        Name of the variable. A unit whose value is not defined is not among them.
    count
        Largest number of units.
    """
    values = columns.values(measure)
    there = np.flatnonzero(np.isfinite(values))
    return there[np.argsort(-values[there], kind="stable")[:count]]


def units_of_largest_values(columns: UnitColumns, count: int) -> list[UnitName]:
    """Return the units of largest value of each measure, each unit once.

    Parameters
    ----------
    columns
        The units.
    count
        Number of units of each measure.
    """
    rows = [top_units(columns, name, count) for name in ranking_measures(columns)]
    return _names(columns, [int(row) for of_measure in rows for row in of_measure])


def most_important_units(columns: UnitColumns) -> list[UnitName]:
    """Return the unit of largest loss increase of each run, in the order of the runs.

    Parameters
    ----------
    columns
        The units. A run whose units were not ablated has none.
    """
    return _names(columns, _most_important_rows(columns))


def _most_important_rows(columns: UnitColumns) -> list[int]:
    if IMPORTANCE not in columns.measures.values():
        return []
    rows = top_units(columns, IMPORTANCE, columns.size)
    codes, first = np.unique(columns.run_codes[rows], return_index=True)
    return [int(row) for _, row in sorted(zip(codes.tolist(), rows[first], strict=True))]


def _names(columns: UnitColumns, rows: Sequence[int]) -> list[UnitName]:
    return [columns.name_of(row) for row in dict.fromkeys(rows)]


def titles_of_units(columns: UnitColumns, rows: Sequence[int]) -> list[str]:
    """Return a title of each unit: its name, and the rankings in which it stands high.

    Parameters
    ----------
    columns
        The units.
    rows
        Rows of the units.
    """
    places = {
        columns.label(name): {int(row): at for at, row in enumerate(top_units(columns, name), 1)}
        for name in ranking_measures(columns)
    }
    most_important = set(_most_important_rows(columns))
    titles = []
    for row in rows:
        words = ["most important unit of its network"] if row in most_important else []
        words += [f"number {of[row]} in {label}" for label, of in places.items() if row in of]
        unit, run = columns.name_of(row), columns.short_runs[columns.run_codes[row]]
        titles.append(": ".join([f"{unit.layer}, channel {unit.channel} of {run}", *words[:1]]))
        titles[-1] += "".join(f", {word}" for word in words[1:])
    return titles
