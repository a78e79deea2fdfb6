"""Arguments of the subcommands that run a network, and the network that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unitlens.stored_network import StoredNetwork

SPLITS = ("train", "test")


def _record_of(path: Path) -> Path:
    """Return the record of a prepared data set that is named by its directory."""
    return path / "dataset.json" if path.is_dir() else path


Prepared = Annotated[
    Path,
    typer.Argument(
        help="dataset.json of the prepared data set, or its directory.", callback=_record_of
    ),
]
Network = Annotated[Path, typer.Argument(help="Directory of the network.")]


def open_network(network: Path | str, dataset: Path) -> "StoredNetwork":
    """Open the network of a directory or URL, with the prepared data set of a dataset.json."""
    from unitlens.stored_network import StoredNetwork

    return StoredNetwork(network, dataset.parent)
