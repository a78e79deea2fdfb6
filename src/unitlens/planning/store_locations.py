"""Where the stores of activations lie: checks of the locations, and stores elsewhere."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from unitlens.errors import ConfigError, UnitlensError, shown
from unitlens.planning.network_checks import section_key
from unitlens.planning.plan import Plan
from unitlens.provenance.misfits import STORE_FILES, read_values
from unitlens.store.located import LOCATION

_IN_ONE_PROCESS = "memory"
BESIDE = "beside the other results of their network"


def check_locations(plan: Plan, *, stored: bool = False, write: bool = False) -> None:
    """Check that stores can be recorded at the locations that a plan names.

    Parameters
    ----------
    plan
        The plan.
    stored
        Whether files lie with a storage provider, so that jobs share no disk.
    write
        Whether an object is written to each location, and removed again.

    Raises
    ------
    ConfigError
        Where fsspec does not know the scheme of a URL, a bucket cannot be found, reached or
        written, or a location is missing or relative though jobs share no disk. The message names
        the key.
    """
    for key, location in _locations(plan):
        if stored:
            _check_reachable_by_all(key, location)
        if location is not None:
            _check_place(f"{key} = {shown(location)}", location, write=write)


def stores_elsewhere(plan: Plan) -> dict[str, int]:
    """Return where finished stores lie that are not at the location of their settings.

    Parameters
    ----------
    plan
        The plan. Its results folder is a local one.

    Returns
    -------
    Place in words to the number of networks whose stores of training samples lie there.
    """
    found: Counter[str] = Counter()
    results = Path(plan.config.results)
    for network in plan.recorded():
        location = plan.settings_of(network).activations.location
        manifest = results / network / STORE_FILES[0]
        if location is None and manifest.with_suffix(".zarr").is_dir():
            continue
        values = read_values(manifest) or {}
        if "conditions" not in values:  # not recorded, or left out
            continue
        named = values["conditions"].get(LOCATION)
        place = None if named is None else str(named).partition(f"/{network}/")[0]
        if place != _absolute(location):
            found[place or BESIDE] += 1
    return dict(found)


def _locations(plan: Plan) -> Iterator[tuple[str, str | None]]:
    """Yield each location of networks that are recorded, after its key."""
    told = set()
    for network in plan.recorded():
        location = plan.settings_of(network).activations.location
        if location not in told:
            told.add(location)
            yield f"{section_key(plan, plan.run_of(network), 'activations')}.location", location


def _check_reachable_by_all(key: str, location: str | None) -> None:
    rule = (
        "where files lie with a storage provider, jobs share no disk, and stores are not among the "
        "files that it carries; name a URL such as s3://bucket/activations, or the absolute path "
        "of a folder that all machines mount"
    )
    if location is None:
        raise ConfigError(f"{key} must be given: {rule}")
    if "://" not in location and not Path(location).is_absolute():
        raise ConfigError(f"{key} = {shown(location)} must not be a relative path: {rule}")


def _check_place(named: str, location: str, *, write: bool) -> None:
    from unitlens.store.backend.places import locate

    if location.partition("://")[0] == _IN_ONE_PROCESS:
        raise ConfigError(f"{named} is memory of one process; name a URL that all jobs reach")
    try:
        folder = locate(location)
        if write:
            _try_to_write(folder)
    except UnitlensError as error:
        raise ConfigError(f"{named}: {error}") from error


def _try_to_write(folder: Path) -> None:
    """Lock a store that is not there, as whoever records does, and remove the lock."""
    from unitlens.store.backend.files import make_directory, remove
    from unitlens.store.backend.lock import only_writer
    from unitlens.store.backend.places import is_remote
    from unitlens.store.format.layout import lock_path

    store = folder / f".check-{uuid4().hex}.zarr"
    make_directory(folder)
    with only_writer(store):
        pass
    if not is_remote(folder):
        remove(lock_path(store))


def _absolute(location: str | None) -> str | None:
    if location is None:
        return None
    return location.rstrip("/") if "://" in location else str(Path(location).absolute())
