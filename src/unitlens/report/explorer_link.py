"""The link from the report to the saved page of the explorer."""

import json
import os
from pathlib import Path
from urllib.parse import quote

from unitlens.errors import TableError
from unitlens.report.script_data import PROVENANCE
from unitlens.tables.tables_record import RECORD, TablesRecord


def link_to_explorer(explorer: Path, page: Path, tables: TablesRecord) -> str:
    """Return the address of the explorer's page, seen from the report.

    Parameters
    ----------
    explorer
        The page that :func:`unitlens.explorer.saved_page.save_explorer` has written.
    page
        The report.
    tables
        The tables that the explorer's page must have been made from.

    Raises
    ------
    TableError
        Where there is no such page, or the page was made from other tables.
    """
    remedy = f"remove {explorer} and run snakemake again: it is made anew from the tables"
    if not explorer.is_file():
        raise TableError(f"there is no {explorer}; make it: unitlens save-explorer")
    if _stated_tables(explorer) != tables.hash:
        raise TableError(
            f"{explorer} was made from other tables than those of the results, or is damaged; "
            f"{remedy}"
        )
    relative = os.path.relpath(explorer.absolute(), page.absolute().parent)
    return quote(Path(relative).as_posix())


def _stated_tables(explorer: Path) -> str | None:
    """Return the hash of the tables that a page states at its end; None where it states none."""
    before, after = PROVENANCE.split("{}")
    stated = explorer.read_text(encoding="utf-8", errors="replace").rpartition(before)[2]
    try:
        found = json.loads(stated.partition(after)[0])["inputs"][RECORD]
    except (ValueError, LookupError, TypeError):
        return None
    return str(found)
