"""The files of figures and pages: written whole, read only with the hash that their record has."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unitlens.errors import TableError, first_line
from unitlens.hashed_files import check_files, read_json
from unitlens.tables.tables_record import RECORD, TablesRecord

FIGURES_RECORD, PAPER_RECORD = "figures.json", "paper.json"


@contextmanager
def writing_pages(directory: Path) -> Iterator[None]:
    """Make a directory and raise TableError where the system refuses to write there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise TableError(
            f"{error.filename or directory} cannot be written ({first_line(error)}); mend this and "
            "run snakemake again"
        ) from error


def read_figures_record(directory: Path, tables: TablesRecord) -> dict[str, Any]:
    """Read what was drawn.

    Parameters
    ----------
    directory
        Directory of the figures.
    tables
        The tables that the figures must have been drawn from.

    Returns
    -------
    The values of ``figures.json``.

    Raises
    ------
    TableError
        Where the figures are missing, damaged, or were drawn from other tables.
    """
    path = directory / FIGURES_RECORD
    if not path.exists():
        raise TableError(
            f"there are no figures in {directory} (no {FIGURES_RECORD}); draw them first"
        )
    return _read_record(path, tables, path)


def drawn_figures(directory: Path, tables: TablesRecord) -> dict[str, set[str]]:
    """Return the figures of a directory, each with the experiments that it shows.

    Parameters
    ----------
    directory
        Directory of the figures.
    tables
        The tables that the figures must have been drawn from.

    Returns
    -------
    Name of each figure to its experiments; empty where no figures were drawn.

    Raises
    ------
    TableError
        Where the figures are damaged, or were drawn from other tables.
    """
    if not (directory / FIGURES_RECORD).exists():
        return {}
    figures = read_figures_record(directory, tables)["figures"]
    return {figure["name"]: set(figure["experiments"]) for figure in figures}


def read_paper_record(path: Path, tables: TablesRecord) -> dict[str, Any]:
    """Read the record beside ``paper.csv``, and check that file and the page.

    Parameters
    ----------
    path
        The file ``paper.csv``.
    tables
        The tables that the results must have been compared from.

    Returns
    -------
    The values of ``paper.json``.

    Raises
    ------
    TableError
        Where a file is missing, damaged, or was made from other tables.
    """
    if not path.exists():
        raise TableError(f"there is no {path}; make it: unitlens compare-with-paper")
    return _read_record(path.with_name(PAPER_RECORD), tables, path)


def _read_record(path: Path, tables: TablesRecord, output: Path) -> dict[str, Any]:
    """Read a record; `output` is the file without which snakemake makes all files anew."""
    remedy = f"remove {output} and run snakemake again: it is made anew from the tables"
    values = read_json(path, error=TableError, remedy=remedy)
    check_files(path.parent, values["files"], error=TableError, remedy=remedy)
    inputs: Mapping[str, str] = values["provenance"]["inputs"]
    if inputs[RECORD] != tables.hash:
        raise TableError(
            f"{path} was made from other tables than those of the results, which were joined anew "
            f"since; {remedy}"
        )
    return values
