"""Where dask computes for a subcommand: threads of its process, or a cluster that is there."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from unitlens.errors import ArgumentError
from unitlens.provenance.digests import code_digest

logger = logging.getLogger("unitlens")

ANSWER = 10  # seconds that a scheduler has to answer

Scheduler = Annotated[
    str | None,
    typer.Option(
        envvar=["DASK_SCHEDULER_ADDRESS", "DASK_SCHEDULER_FILE"],
        metavar="ADDRESS_OR_FILE",
        help="Compute on a dask cluster, by its scheduler's address or file, not in threads.",
    ),
]


@contextmanager
def dask_scheduler(scheduler: str | None, threads: int, directory: Path) -> Iterator[None]:
    """Compute with dask on a cluster, or with so many threads where none is named.

    Parameters
    ----------
    scheduler
        Address of a dask.distributed scheduler, or the file that it was told to write.
    threads
        Threads of this process, where there is no cluster.
    directory
        What is read from; the workers must see it.

    Raises
    ------
    ArgumentError
        Where the cluster is not to be reached, or its workers have other code or other files.
    """
    import dask

    if scheduler is None:
        with dask.config.set(scheduler="threads", num_workers=threads):
            yield
        return
    with _connect(scheduler) as client:
        _check_cluster(client, scheduler, directory)
        yield


def seen_from(directory: str) -> tuple[str, bool]:
    """Return the digest of the code that is here, and whether there is such a directory."""
    from unitlens.store.backend.places import locate

    return code_digest("class_statistics", "principal_components"), locate(directory).is_dir()


def _connect(scheduler: str) -> Any:
    address = scheduler if "://" in scheduler else _read_address(Path(scheduler))
    try:
        from distributed import Client
    except ImportError as error:
        raise ArgumentError(
            f"--scheduler {scheduler} needs the package distributed, which is not installed; "
            "pip install 'unitlens[distributed]'"
        ) from error
    import asyncio

    try:
        asyncio.run(asyncio.wait_for(_shake_hands(address), ANSWER))
    except ValueError as error:
        raise ArgumentError(
            f"--scheduler {scheduler} must be an address such as tcp://host:8786, but is not: "
            f"{error}"
        ) from error
    except Exception as error:  # whatever else it may be that answers there
        raise ArgumentError(
            f"--scheduler {scheduler}: no dask scheduler answers at {address} within {ANSWER} s; "
            "start one, or leave it out to compute in threads"
        ) from error
    return Client(address, timeout=ANSWER)  # type: ignore[no-untyped-call]


async def _shake_hands(address: str) -> None:
    """Connect once: a client would wait without end for one that takes calls and says nothing."""
    import distributed.comm.core

    module: Any = distributed  # its functions have no types
    options = module.Security().get_connection_args("client")
    comm = await module.comm.core.connect(address, timeout=ANSWER, **options)
    comm.abort()


def _read_address(file: Path) -> str:
    """Return the address in a scheduler file."""
    try:
        address = json.loads(file.read_text())["address"]
    except FileNotFoundError as error:
        raise ArgumentError(
            f"--scheduler {file} must be an address such as tcp://host:8786 or an existing "
            "scheduler file, but there is no such file; dask scheduler --scheduler-file writes one"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            f"--scheduler {file} must be a scheduler file, JSON with an 'address', but is not; "
            "dask scheduler --scheduler-file writes one"
        ) from error
    return str(address)


def _check_cluster(client: Any, scheduler: str, directory: Path) -> None:
    """Refuse a cluster that would compute something else, or whose workers lack the files."""
    place = str(directory.absolute())
    ours, _ = seen_from(place)
    found_by = client.run(seen_from, place, on_error="return")
    workers = {f"worker {address}": found for address, found in found_by.items()}
    for name, found in {"its scheduler": _on_scheduler(client, place), **workers}.items():
        if isinstance(found, Exception) or found[0] != ours:
            raise ArgumentError(
                f"--scheduler {scheduler}: {name} has no unitlens or another version of it, but "
                "must have the one that runs here; install it there and start the cluster again"
            )
    for name, (_, there) in workers.items():
        if not there:
            raise ArgumentError(
                f"--scheduler {scheduler}: {name} does not see {place}, but must read it; "
                "use a file system that all workers share"
            )
    logger.info("computing on the dask cluster at %s, now %d workers", scheduler, len(workers))


def _on_scheduler(client: Any, place: str) -> tuple[str, bool] | Exception:
    try:
        found: tuple[str, bool] = client.run_on_scheduler(seen_from, place)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from running the code
        return error
    return found
