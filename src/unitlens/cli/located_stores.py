"""Recording subcommands whose stores lie where ``activations.location`` says.

The subcommands are wrapped, not changed: where a store lies changes no number, so it must not
change the digest of what records.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from unitlens.cli.opening import SPLITS
from unitlens.config.measurements import ActivationSpec
from unitlens.config.reading import parse_section
from unitlens.errors import DatasetError, ModelError
from unitlens.failed_network import failure_of
from unitlens.hashed_files import HASH, hash_values, read_json, write_json
from unitlens.provenance.misfits import CHECKPOINT, STORE_FILES, read_values
from unitlens.store.backend.files import names_in
from unitlens.store.backend.places import locate
from unitlens.store.located import LOCATION, placing_stores, write_location

AGAIN = "remove the file and run snakemake again"
_HASH_DIGITS = 12
Command = Callable[..., None]

logger = logging.getLogger("unitlens")


def recorded_at_location(command: Command) -> Command:
    """Return a subcommand that records a network, whose stores lie where ``--site`` says."""

    @wraps(command)
    def located(**given: Any) -> None:
        section = parse_section(ActivationSpec, given["settings"], given["site"])
        with _elsewhere(section, given, finishes=True):
            command(**given)

    return located


def part_at_location(command: Command) -> Command:
    """Return a subcommand that records a part; the file of the part states the location."""

    @wraps(command)
    def located(**given: Any) -> None:
        section = parse_section(ActivationSpec, given["settings"], given["site"])
        with _elsewhere(section, given, finishes=False):
            command(**given)
        if section.location is not None:
            part = read_values(given["output"]) or {}
            values = {name: value for name, value in part.items() if name != HASH}
            write_json(given["output"], {**values, LOCATION: section.location})

    return located


def merged_at_location(command: Command) -> Command:
    """Return a subcommand that merges parts, whose store lies where the parts were recorded."""

    @wraps(command)
    def located(**given: Any) -> None:
        section = parse_section(ActivationSpec, given["settings"])
        parts = (given["network"] / "parts").glob("*-of-*.json")
        last = max(parts, key=lambda part: part.stat().st_mtime_ns, default=None)
        location = (read_values(last) or {}).get(LOCATION) if last is not None else None
        section = section.model_copy(update={"location": location})
        with _elsewhere(section, given, finishes=True):
            command(**given)

    return located


def _elsewhere(
    section: ActivationSpec, given: Mapping[str, Any], *, finishes: bool
) -> AbstractContextManager[None]:
    network, dataset, code = (given[name] for name in ("network", "dataset", "code"))
    return recording_elsewhere(network, dataset, section, code, finishes=finishes)


@contextmanager
def recording_elsewhere(
    network: Path, dataset: Path, section: ActivationSpec, code: str, *, finishes: bool
) -> Iterator[None]:
    """Have the stores of a network recorded at the location of its settings, if they name one.

    Parameters
    ----------
    network
        Directory of the network.
    dataset
        The dataset.json of the prepared data set.
    section
        Settings of the recording.
    code
        Digest of the code that records.
    finishes
        Whether the stores are finished in the block.
    """
    if section.location is None or failure_of(network):
        yield
        return
    identity = _identity(network, dataset, section, code)
    folder = locate(section.location) / network_path(network)
    stores = {
        network / Path(file).with_suffix(".zarr"): folder / f"{split}-{identity}.zarr"
        for split, file in zip(SPLITS, STORE_FILES, strict=True)
    }
    with placing_stores(stores):
        yield
    if finishes:
        for path, store in stores.items():
            write_location(path, store)
        _tell_of_others(folder, identity)


def network_path(network: Path) -> Path:
    """Return the path of a network under a location: that under the results folder.

    Examples
    --------
    >>> network_path(Path("results/digits-mlp-seed1-3fa9c1d0e52b/epoch-0005")).as_posix()
    'digits-mlp-seed1-3fa9c1d0e52b/epoch-0005'
    """
    is_kept = network.name.startswith("epoch-")
    return Path(network.parent.name, network.name) if is_kept else Path(network.name)


def _identity(network: Path, dataset: Path, section: ActivationSpec, code: str) -> str:
    """Return a hash of what is recorded and how: other recordings lie at other places."""
    record = read_json(network / CHECKPOINT, error=ModelError, remedy=AGAIN, require_hash=False)
    prepared = read_json(dataset, error=DatasetError, remedy=AGAIN, require_hash=False)
    values = {
        "weights": record["weights_hash"],
        "dataset": prepared["content_hash"],
        "settings": section.content(),
        "code": code,
    }
    return hash_values(values)[:_HASH_DIGITS]


def _tell_of_others(folder: Path, identity: str) -> None:
    """Log which earlier recordings of a network lie beside the present one."""
    others = sorted(
        name for name in names_in(folder) if name.endswith(".zarr") and identity not in name
    )
    if others:
        logger.warning(
            "%s holds other recordings of this network, too (%s); remove those that no results "
            "folder names",
            folder,
            ", ".join(others),
        )
