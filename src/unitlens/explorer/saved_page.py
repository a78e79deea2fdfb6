"""The explorer as one page that needs no network: the overview, the top units, and their pages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from unitlens.errors import MissingTableError
from unitlens.explorer.chosen_units import (
    most_important_units,
    ranking_measures,
    titles_of_units,
    top_units,
    units_of_largest_values,
)
from unitlens.explorer.overview import SIGNED, preferred_axes
from unitlens.explorer.overview_scatter import UnitScatter
from unitlens.explorer.text_panes import colour_key, heading, text_line
from unitlens.explorer.unit_columns import UnitColumns, UnitName
from unitlens.explorer.unit_tab import page_of
from unitlens.extras import naming_extras
from unitlens.local_files import replacing
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.report.script_data import PROVENANCE, script_json
from unitlens.reproduction.page_files import writing_pages
from unitlens.tables.results import Results
from unitlens.tables.tables_record import RECORD

MOST_BYTES = 10_000_000
AT_ONCE = 32  # pages that are built before it is seen whether the file is too large
NAMED = 20  # pages that are left out and named
LEADING = 2  # units of largest value of each measure that have a page if no units are named


@naming_extras()
def save_explorer(
    results: Results,
    path: str | Path,
    units: Sequence[UnitName] | None = None,
    *,
    code: str = "",
) -> None:
    """Write the overview and pages of units to one file that needs no network.

    Parameters
    ----------
    results
        The results.
    path
        The HTML file. It states the tables that it was made from.
    units
        The units whose pages the file holds. If None: of each run the unit of largest loss
        increase, and of each measure the two units of largest value. The pages that come last are
        left out, with a line, where the file would be larger than 10 MB; not many more pages are
        built than the file holds.
    code
        Digest of the code that writes the page, for what the page says of itself.

    Raises
    ------
    TableError
        Where the table has not one of these units, or the disk is full.
    """
    parts = _parts(results, units)
    text, kept = parts.text(), len(parts.pages)
    empty = parts.size(0) if len(text.encode()) > MOST_BYTES else 0
    while kept and len(text.encode()) > MOST_BYTES:
        kept = _fitting(kept, len(text.encode()), empty)
        text = parts.text(kept)
    stated = FileProvenance("save_explorer", {}, code, {RECORD: results.record.hash})
    origin = PROVENANCE.format(script_json(stated.to_values()))
    with writing_pages(Path(path).parent), replacing(Path(path)) as partial:
        partial.write_text(f"{text}\n{origin}\n", encoding="utf-8")


def _fitting(kept: int, size: int, empty: int) -> int:
    """Return how many of the pages fit, fewer than before, if all pages are of one size."""
    return max(0, min(kept - 1, kept * (MOST_BYTES - empty) // max(1, size - empty)))


@dataclass(frozen=True)
class _PageParts:
    """What stands above the pages of units, their titles and what is built of them, the end."""

    start: list[Any]
    titles: list[str] = field(default_factory=list)
    end: list[Any] = field(default_factory=list)
    pages: list[Any] = field(default_factory=list)

    def text(self, count: int | None = None) -> str:
        """Return the file with the first pages of units, or with all that are built."""
        return _html([*self.start, *_cards(self.titles, self.pages[:count]), *self.end])

    def size(self, count: int | None = None) -> int:
        return len(self.text(count).encode())


def _parts(results: Results, units: Sequence[UnitName] | None) -> _PageParts:
    start: list[Any] = [heading("Units of trained networks")]
    start += [text_line(f"Left out: {run} ({why})") for run, why in results.failed.items()]
    try:
        columns = UnitColumns(results.units)
    except MissingTableError as error:
        if units:
            raise
        return _PageParts([*start, text_line(str(error))])
    if units is None:
        units = most_important_units(columns) + units_of_largest_values(columns, LEADING)
    rows = list(dict.fromkeys(columns.row_of(unit) for unit in units))
    start += _overview(results, columns)
    end = [part for name in ranking_measures(columns) for part in _ranking(columns, name)]
    parts = _PageParts(start, titles_of_units(columns, rows), end)
    for count, row in enumerate(rows):
        if count and count % AT_ONCE == 0 and parts.size() > MOST_BYTES:
            break
        parts.pages.append(page_of(results, columns.name_of(row)))
    return parts


def _overview(results: Results, columns: UnitColumns) -> list[Any]:
    import panel as pn

    told: list[Any] = [text_line(f"{len(columns.runs)} networks in {results.directory}")]
    if not columns.measures:
        return [*told, text_line("The table of units has no measure.")]
    x, y = preferred_axes(columns)
    scale = "symlog" if y in SIGNED else "linear"
    scatter = UnitScatter(columns, x, y, "linear", scale, "layer", tuple(columns.runs))
    told.append(text_line(scatter.note))
    if not scatter.rows.size:
        return told
    drawn, _ = scatter.draw(live=False)
    if scatter.colours.names:
        told.append(colour_key(scatter.colours.label, scatter.colours.key))
    return [*told, pn.pane.HoloViews(drawn, linked_axes=False)]


def _ranking(columns: UnitColumns, measure: str) -> list[Any]:
    import panel as pn

    shown = ranking_measures(columns)
    frame = columns.frame(top_units(columns, measure), shown)
    frame = frame.rename(columns={name: columns.label(name) for name in shown})
    table = pn.pane.DataFrame(frame, index=False, escape=True, float_format="{:.4g}".format)
    return [heading(f"Largest {columns.label(measure)}"), table]


def _cards(titles: Sequence[str], pages: Sequence[Any]) -> list[Any]:
    """Return the pages, each below a line that opens and closes it, and what is left out."""
    import panel as pn

    if not titles:
        return []
    parts: list[Any] = [
        heading("Pages of units"),
        text_line("A click on a line shows the page of the unit."),
    ]
    for title, page in zip(titles, pages, strict=False):
        line = text_line(title)
        line.styles = {"text-align": "left"}
        closed = len(titles) > 1
        layout = {"sizing_mode": "stretch_width", "margin": (3, 10)}
        parts.append(pn.Card(page, header=line, collapsed=closed, **layout))
    if left_out := titles[len(pages) :]:
        more = len(left_out) - NAMED
        named = [*left_out[:NAMED], *([f"{more} more units"] if more > 0 else [])]
        told = "Left out, for the page would be larger than 10 MB:"
        parts.append(text_line(f"{told} {'; '.join(named)}."))
    return parts


def _html(parts: Sequence[Any]) -> str:
    import panel as pn
    from bokeh.document import Document
    from bokeh.models.ui import UIElement
    from bokeh.resources import INLINE
    from panel.io.notebook import patch_inline_stylesheets
    from panel.io.resources import CDN_DIST
    from panel.io.save import save

    document = Document()
    root = pn.Column(*parts, sizing_mode="stretch_width").get_root(document)
    # Panel's own style sheets go into the page, and its icon is left out: both would be asked of
    # the network. A document that has its root already would list all models again at each change.
    for element in root.select({"type": UIElement}):
        patch_inline_stylesheets(element)
    document.add_root(root)
    text = StringIO()
    save(document, text, resources=INLINE, title="unitlens")
    return text.getvalue().replace(f"{CDN_DIST}images/favicon.ico", "data:,")
