"""Draw the figures that a configuration asks for, and write what each of them shows."""

import logging
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from unitlens.analysis.run_groups import members_of
from unitlens.catalogue.figures import FIGURES
from unitlens.errors import TableError, nearest
from unitlens.figures.needs import FINDING, Draw, Tell, UndrawnFigureError
from unitlens.figures.paper_marks import (
    NO_PAPER,
    PAPER_CAPTION,
    PaperNumbers,
    paper_numbers,
    shows_paper,
)
from unitlens.hashed_files import hash_file, write_json
from unitlens.local_files import write_whole
from unitlens.plot.style import draw_note, save
from unitlens.progress import track
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.reproduction.page_files import FIGURES_RECORD, writing_pages
from unitlens.tables.results import Results, open_results
from unitlens.tables.tables_record import RECORD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("unitlens")


def draw_figures(
    results: str | Path,
    figures: Mapping[str, Sequence[str]],
    directory: str | Path,
    *,
    paper: Mapping[str, Sequence[str]] | None = None,
    code: str = "",
) -> None:
    """Draw figures, and write their titles, captions and findings.

    Parameters
    ----------
    results
        A results directory with its tables.
    figures
        Name of each figure to the experiments that the figure shows.
    directory
        Directory to write to. For each figure, ``{name}.svg`` and ``{name}.png`` hold the picture,
        and ``{name}.rst`` holds its title, caption and finding for the report of Snakemake.
        ``figures.json``, written last, lists all figures in the order of `figures`, each with its
        name, title, caption, finding (two sentences with numbers) and experiments, the hash of
        each file, and the tables that the figures were drawn from.
    paper
        Group of the paper's results (a key of
        :data:`unitlens.catalogue.comparisons.COMPARISONS`) to the experiments that are compared
        with it. A figure that shows any of these experiments shows the paper's numbers beside
        ours, and its caption says so. No figure shows any if None.
    code
        Digest of the code that draws, for ``figures.json``.

    Raises
    ------
    TableError
        Where a figure, a group or an experiment does not exist, the results lack what a figure
        needs, or the disk is full. Where networks are left out of the results, for their training
        failed, a picture with the reason takes the place of a figure that needs more than is
        left.
    """
    opened, directory = open_results(results), Path(directory)
    written = []
    with writing_pages(directory):
        for name, experiments in track(figures.items(), "draw figures", total=len(figures)):
            runs = runs_of(opened, experiments, name)
            numbers = paper_numbers(opened, name, experiments, paper or {})
            picture, told = _draw(opened, runs, name, numbers)
            save(picture, directory, name)
            declared = FIGURES[name]
            caption = declared.caption + (f" {PAPER_CAPTION}" if shows_paper(picture) else "")
            words = {"title": declared.title, "caption": caption, "finding": told}
            write_whole(directory / f"{name}.rst", report_caption(**words).encode())
            written.append({"name": name, **words, "experiments": list(experiments)})
            logger.info("drew %s from %d runs", name, len(runs))
        files = [f"{name}.{kind}" for name in figures for kind in ("svg", "png", "rst")]
        settings = {
            "figures": {name: list(of) for name, of in figures.items()},
            "paper": {group: list(of) for group, of in (paper or {}).items()},
        }
        inputs = {RECORD: opened.record.hash}
        values = {
            "figures": written,
            "files": {file: hash_file(directory / file) for file in files},
            "provenance": FileProvenance("draw_figures", settings, code, inputs).to_values(),
        }
        write_json(directory / FIGURES_RECORD, values)


def _draw(
    results: Results, runs: Sequence[str], name: str, paper: PaperNumbers = NO_PAPER
) -> "tuple[Figure, str]":
    """Return a figure and its finding; a note of both where failed networks are what it lacks."""
    draw, tell = functions_of(name)
    try:
        more = {"paper": paper} if FIGURES[name].shows_paper else {}
        return draw(results, runs, **more), tell(results, runs)
    except UndrawnFigureError as reason:
        if not results.failed:
            raise
        count = len(results.failed)
        note = f"Not drawn: {reason}; {count} networks are left out, for their training failed."
        logger.warning("%s", note)
        return draw_note(note), note


def functions_of(name: str) -> tuple[Draw, Tell]:
    """Return the function that draws a figure, and the function that tells its finding.

    Parameters
    ----------
    name
        Name of the figure. The functions ``{name}`` and ``{name}_finding`` stand in the module
        that the figure's declaration names.

    Raises
    ------
    TableError
        Where no such figure is declared.
    """
    if name not in FIGURES:
        raise TableError(f"there is no figure '{name}'; {nearest(name, FIGURES)}")
    module = import_module(f"unitlens.figures.{FIGURES[name].module}")
    return getattr(module, name), getattr(module, name + FINDING)


def runs_of(results: Results, experiments: Sequence[str], figure: str) -> list[str]:
    """Return the names of the runs of experiments, in the order of the table of runs."""
    shown = members_of(results.runs, experiments, f"the figure {figure} is to show")
    return list(map(str, shown["run"].values))


def report_caption(title: str, caption: str, finding: str) -> str:
    """Return a caption for the report of Snakemake, which reads Jinja and reStructuredText.

    Parameters
    ----------
    title, caption, finding
        Plain texts: in the caption, no character of a text is markup.
    """
    return f"**{_escape(title)}**\n\n{_escape(caption)}\n\n{_escape(finding)}\n"


def _escape(text: str) -> str:
    r"""Put a backslash before each punctuation mark: the mark then means itself.

    Examples
    --------
    >>> print(_escape("{{*x*}}"))
    \{\{\*x\*\}\}
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
