"""Recording subcommands whose stores lie where ``activations.location`` says.

The subcommands are wrapped, not changed: where a store lies changes no number, so it must not
change the digest of what records.
"""

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from unitlens.cli.job import Site
from unitlens.cli.opening import SPLITS
from unitlens.config.measurements import ActivationSpec
from unitlens.config.reading import parse_section
from unitlens.errors import DatasetError, ModelError
from unitlens.failed_network import failure_of
from unitlens.hashed_files import hash_values, read_json
from unitlens.provenance.misfits import CHECKPOINT, STORE_FILES
from unitlens.store.backend.files import names_in
from unitlens.store.backend.places import locate
from unitlens.store.located import placing_stores, write_location

AGAIN = "remove the file and run snakemake again"
_HASH_DIGITS = 12

logger = logging.getLogger("unitlens")


def with_location(command: Callable[..., None], *, finishes: bool) -> Callable[..., None]:
    """Return a recording subcommand whose stores lie where its option ``--site`` says.

    Parameters
    ----------
    command
        The subcommand: a function of ``dataset``, ``network``, ``settings`` and ``code``.
    finishes
        Whether the subcommand finishes the stores. Then their manifests are written to the
        directory of the network, too.
    """
    signature = inspect.signature(command)
    takes_site = "site" in signature.parameters
    option = inspect.Parameter(
        "site", inspect.Parameter.KEYWORD_ONLY, default="{}", annotation=Site
    )
    parameters = {"site": option, **signature.parameters}

    @wraps(command)
    def located(**given: Any) -> None:
        site = given["site"] if takes_site else given.pop("site")
        section = parse_section(ActivationSpec, given["settings"], site)
        with recording_elsewhere(
            given["network"], given["dataset"], section, given["code"], finishes=finishes
        ):
            command(**given)

    ordered = sorted(parameters.values(), key=lambda parameter: parameter.kind)
    located.__signature__ = signature.replace(parameters=ordered)  # type: ignore[attr-defined]
    located.__annotations__ = {"site": Site, **command.__annotations__}
    return located


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
