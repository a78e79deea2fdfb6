"""Arguments of the subcommands that run a network, and the network that they name."""

import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unitlens.stored_network import StoredNetwork

SPLITS = ("train", "test")


def _record_of(path: Path) -> Path:
    """Return the record of a prepared data set; of one in a tar file after its files are unpacked.

    Other jobs of this machine may unpack them to the same folder at the same time.
    """
    if path.suffix != ".tar":
        return path
    with TemporaryDirectory(dir=path.parent) as unpacked, tarfile.open(path) as packed:
        packed.extractall(unpacked, filter="data")
        for file in sorted(Path(unpacked).iterdir()):
            file.replace(path.with_name(file.name))
    return path.with_name("dataset.json")


Prepared = Annotated[
    Path,
    typer.Argument(
        help="dataset.json of the prepared data set, or a tar file of its folder.",
        callback=_record_of,
    ),
]
Network = Annotated[Path, typer.Argument(help="Directory of the network.")]


def open_network(network: Path | str, dataset: Path) -> "StoredNetwork":
    """Open the network of a directory or URL, with the prepared data set of a dataset.json."""
    from unitlens.stored_network import StoredNetwork

    return StoredNetwork(network, dataset.parent)
