"""Subcommands that look after stores: is one whole, and record again what is not."""

from typing import Annotated

import typer


def verify(
    store: Annotated[str, typer.Argument(help="Store, such as activations.zarr: a path or a URL.")],
) -> None:
    """Read everything of a store and name each file that is bad; exit status 1 if one is."""
    from unitlens.store.verify import verify_store

    report = verify_store(store)
    typer.echo(report)
    if not report.whole:
        raise typer.Exit(1)


COMMANDS = (verify,)
