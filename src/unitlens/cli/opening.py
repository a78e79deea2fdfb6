"""Arguments of the subcommands that run a network, and the network that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unitlens.stored_network import StoredNetwork

SPLITS = ("train", "test")

Prepared = Annotated[Path, typer.Argument(help="dataset.json of the prepared data set.")]
Network = Annotated[Path, typer.Argument(help="Directory of the network.")]


def open_network(network: Path | str, dataset: Path) -> "StoredNetwork":
    """Open the network of a directory or URL, with the prepared data set of a dataset.json."""
    from unitlens.stored_network import StoredNetwork

    return StoredNetwork(network, dataset.parent)
