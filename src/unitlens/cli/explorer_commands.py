"""The subcommand that shows the units of a results folder in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from unitlens.cli.terminal import say


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
) -> None:
    """Show the units of a results folder in the browser, on this machine alone."""
    from unitlens.explorer.saved_page import save_explorer
    from unitlens.explorer.served_page import serve_explorer
    from unitlens.tables.results import open_results

    opened = open_results(results)
    if save is not None:
        save_explorer(opened, save)
        say(f"{save} shows {opened.directory}; it needs no network")
        return
    serve_explorer(opened, port=port, opens=not no_open, tell=say)


COMMANDS = (explore,)
