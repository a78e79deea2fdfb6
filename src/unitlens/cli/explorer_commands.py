"""The subcommands that show the units of a results folder in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from unitlens.cli.job import Code, Log, open_log, work
from unitlens.cli.terminal import say
from unitlens.errors import ArgumentError


def explore(
    results: Annotated[str, typer.Argument(help="Results directory: a path or a URL.")] = "results",
    *,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Do not open the page in the browser.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="Write one page that needs no network to this file, and serve nothing."),
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN/LAYER/CHANNEL",
            help="Unit whose page --save writes; may be given several times.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of units of largest value of each measure that --save writes."
        ),
    ] = None,
) -> None:
    """Show the units of a results folder in the browser, on this machine alone."""
    from unitlens.explorer.unit_link import unit_of_words

    if save is None and (unit or top is not None):
        raise ArgumentError(
            f"{'--unit' if unit else '--top'} is given without --save, but says what a saved page "
            "holds; add --save page.html"
        )
    named = [unit_of_words(words) for words in unit or ()]
    from unitlens.explorer.chosen_units import units_of_largest_values
    from unitlens.explorer.saved_page import save_explorer
    from unitlens.explorer.served_page import serve_explorer
    from unitlens.explorer.unit_columns import UnitColumns
    from unitlens.tables.results import open_results

    opened = open_results(results)
    if save is not None:
        leading = [] if top is None else units_of_largest_values(UnitColumns(opened.units), top)
        save_explorer(opened, save, [*named, *leading] or None)
        say(f"{save} shows {opened.directory}; it needs no network")
        return
    serve_explorer(opened, port=port, opens=not no_open, tell=say)


def save_explorer(
    results: Annotated[Path, typer.Argument(help="Directory of the results.")],
    output: Annotated[Path, typer.Argument(help="HTML page to write.")],
    *,
    code: Code = "",
    log: Log = None,
) -> None:
    """Write one page of all units, and of those that matter most, that works offline."""
    open_log(log)
    from unitlens.explorer.saved_page import save_explorer
    from unitlens.tables.results import open_results

    with work():
        save_explorer(open_results(results), output, code=code)


COMMANDS = (explore, save_explorer)
