"""Networks and data sets, opened for the subcommands that run them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from unitlens.config.networks import RunSpec

SPLITS = ("train", "test")


Prepared = Annotated[Path, typer.Argument(help="dataset.json of the prepared data set.")]


Network = Annotated[Path, typer.Argument(help="Directory of the network.")]


Code = Annotated[str, typer.Option(help="Digest of the code that does the work.")]


def open_network(network: Path) -> Any:
    """Open a trained network: the module and its record."""
    from unitlens.training.checkpoints import load_checkpoint

    return load_checkpoint(network)


def open_split(dataset: Path, spec: RunSpec, split: str) -> Any:
    """Open a split of a prepared data set with the labels that a run was trained on."""
    from unitlens.data.prepare import load_dataset

    corruption = spec.dataset.corruption
    return load_dataset(dataset.parent, split, corruption=corruption, seed=spec.seed)
