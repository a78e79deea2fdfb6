"""The explorer as one page that needs no network: the overview, the top units, and their pages."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from unitlens.explorer.overview import SIGNED, preferred_axes
from unitlens.explorer.overview_scatter import UnitScatter
from unitlens.explorer.text_panes import colour_key, heading, text_line
from unitlens.explorer.unit_columns import Rows, UnitColumns, UnitName
from unitlens.explorer.unit_tab import page_of
from unitlens.extras import naming_extras
from unitlens.local_files import replacing
from unitlens.tables.results import Results

MOST_BYTES = 10_000_000
RANKED_BY = ("loss_increase", "accuracy_drop", "selectivity", "mutual_information")
IN_A_TABLE = 10  # units of largest value that a measure's table names


@naming_extras()
def save_explorer(
    results: Results, path: str | Path, units: Sequence[UnitName] | None = None
) -> None:
    """Write the overview and pages of units to one file that needs no network.

    Parameters
    ----------
    results
        The results.
    path
        The HTML file.
    units
        The units whose pages the file holds; the first of each measure's ranking if not given.
        Pages that would make the file larger than 10 MB are left out, with a line.

    Raises
    ------
    TableError
        Where the results have no table of units, or the table has not one of these units.
    """
    columns = UnitColumns(results.units)
    measures = [name for name in RANKED_BY if name in columns.measures.values()]
    tops = {name: top_units(columns, name) for name in measures}
    if units is None:
        first = [columns.name_of(int(rows[0])) for rows in tops.values() if rows.size]
        units = list(dict.fromkeys(first))
    rows = [columns.row_of(unit) for unit in units]
    start = [heading("Units of trained networks"), *_overview(results, columns)]
    start += [part for name in measures for part in _ranking(columns, name, tops[name])]
    pages = [_page(results, columns, row) for row in rows]
    kept = len(pages)
    text = _html(start, pages)
    while kept and len(text.encode()) > MOST_BYTES:
        kept -= 1
        left_out = [columns.name_of(row) for row in rows[kept:]]
        names = ", ".join(f"{unit.layer} {unit.channel} of {unit.run}" for unit in left_out)
        told = text_line(f"Left out, for the page would be larger than 10 MB: {names}.")
        text = _html(start, [*pages[:kept], [told]])
    with replacing(Path(path)) as partial:
        partial.write_text(text, encoding="utf-8")


def top_units(columns: UnitColumns, measure: str) -> Rows:
    """Return the rows of the units with the largest values of a measure, the largest first.

    Parameters
    ----------
    columns
        The units.
    measure
        Name of the variable. A unit whose value is not defined is not among them.
    """
    values = columns.values(measure)
    there = np.flatnonzero(np.isfinite(values))
    return there[np.argsort(-values[there], kind="stable")[:IN_A_TABLE]]


def _overview(results: Results, columns: UnitColumns) -> list[Any]:
    import panel as pn

    x, y = preferred_axes(columns)
    scale = "symlog" if y in SIGNED else "linear"
    scatter = UnitScatter(columns, x, y, "linear", scale, "layer", tuple(columns.runs))
    told: list[Any] = [
        text_line(f"{len(columns.runs)} networks in {results.directory}"),
        text_line(scatter.note),
    ]
    if not scatter.rows.size:
        return told
    drawn, _ = scatter.draw(live=False)
    if scatter.colours.names:
        told.append(colour_key(scatter.colours.label, scatter.colours.key))
    return [*told, pn.pane.HoloViews(drawn, linked_axes=False)]


def _ranking(columns: UnitColumns, measure: str, rows: Rows) -> list[Any]:
    import panel as pn

    shown = [name for name in RANKED_BY if name in columns.measures.values()]
    frame = columns.frame(rows, shown).rename(columns={name: columns.label(name) for name in shown})
    table = pn.pane.DataFrame(frame, index=False, escape=True, float_format="{:.4g}".format)
    return [heading(f"Largest {columns.label(measure)}"), table]


def _page(results: Results, columns: UnitColumns, row: int) -> list[Any]:
    unit = columns.name_of(row)
    title = heading(f"{unit.layer}, channel {unit.channel} of {unit.run}")
    return [title, page_of(results, unit)]


def _html(start: Sequence[Any], pages: Sequence[Sequence[Any]]) -> str:
    import panel as pn
    from bokeh.document import Document
    from bokeh.models.ui import UIElement
    from bokeh.resources import INLINE
    from panel.io.notebook import patch_inline_stylesheets
    from panel.io.resources import CDN_DIST
    from panel.io.save import save

    parts = [*start, *(part for page in pages for part in page)]
    document = Document()
    document.add_root(pn.Column(*parts, sizing_mode="stretch_width").get_root(document))
    # Panel's own style sheets go into the page, and its icon is left out: both would be asked of
    # the network.
    for root in document.roots:
        for element in root.select({"type": UIElement}):
            patch_inline_stylesheets(element)
    text = StringIO()
    save(document, text, resources=INLINE, title="unitlens")
    return text.getvalue().replace(f"{CDN_DIST}images/favicon.ico", "data:,")
