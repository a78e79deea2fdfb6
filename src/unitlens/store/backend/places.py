"""Where a store lies: a local path, or a URL that fsspec has a driver for.

A URL's place is a ``upath.UPath``. It has pathlib's interface, so paths beside and inside a store
are made in one way; it is typed as `Path` here, for the library is optional. What reads and writes
files differently for the two is in :mod:`unitlens.store.backend.files`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from zarr.abc.store import ByteRequest, OffsetByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore

from unitlens.errors import ArgumentError, StoreError

_EXTRA = "pip install 'unitlens[remote]'"
_ACCESS = (
    "check the address, the connection and the credentials: fsspec's configuration holds them, "
    "for s3 also AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ..."
)
_LOCAL = ("", "file", "local")


def locate(path: str | Path) -> Path:
    """Return the place that a path or a URL names; of a URL it is made sure that it can be reached.

    Raises
    ------
    ArgumentError
        Where nothing is known of the URL's scheme, or a library for it is missing.
    StoreError
        Where the URL's server or bucket cannot be reached.
    """
    text = str(path)
    if "://" in text:
        scheme, _, rest = text.partition("://")
        options = getattr(path, "storage_options", {})
        return _locate_url(f"{scheme}://{rest.rstrip('/')}", options)
    shortened = re.match(r"([a-z][a-z0-9+.-]+):/", text)
    if shortened and shortened[1] in _schemes():
        raise ArgumentError(
            f"the path {text} was a URL before pathlib made a path of it; give the URL as text"
        )
    return Path(path)


def is_remote(path: Path) -> bool:
    """Tell whether a place is a URL's."""
    return not isinstance(path, Path)


def filesystem(path: Path) -> Any:
    """Return fsspec's file system of a URL's place."""
    return cast("Any", path).fs


def key_of(path: Path) -> str:
    """Return what a URL's place is called in its file system."""
    return str(cast("Any", path).path).rstrip("/")


def _schemes() -> list[str]:
    import fsspec

    return list(fsspec.available_protocols())


def _locate_url(url: str, options: dict[str, Any]) -> Path:
    try:
        from upath import UPath
    except ImportError:
        raise ArgumentError(f"{url} is a URL, for which a library is missing: {_EXTRA}") from None
    try:
        # What another process has written since must be seen: no listing is kept.
        place = UPath(url, **{**options, "use_listings_cache": False})
        if place.protocol in _LOCAL:
            return Path(place.path)
        system = place.fs
    except ImportError as error:
        raise ArgumentError(
            f"a library for {url} is missing ({error}); s3 comes with {_EXTRA}"
        ) from None
    except ValueError as error:
        raise ArgumentError(
            f"{url} cannot be used as a place ({error}); fsspec must know its scheme, as s3://"
        ) from None
    with reaching(url):
        there = system.exists(place.path) or not place.drive or system.exists(place.drive)
    if not there:
        raise StoreError(
            f"the bucket {place.drive} of {url} cannot be found; make it, or {_ACCESS}"
        )
    return cast("Path", place)


@contextmanager
def reaching(what: object) -> Iterator[None]:
    """Raise StoreError where a driver fails, whatever it raises; what is missing stays so."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise StoreError(f"{what} cannot be reached ({why}); {_ACCESS}, then try again") from error


class _RemoteStore(FsspecStore):
    """Zarr's store at a URL, in which an unreachable object is neither missing nor damaged."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        with reaching(f"{self.path}/{key}"):
            # With a first byte the driver need not ask for the size before.
            return await super().get(key, prototype, byte_range or OffsetByteRequest(0))


def zarr_store(path: Path) -> Store:
    """Return Zarr's store of what lies at a place, for reading."""
    if is_remote(path):
        options = dict(cast("Any", path).storage_options)
        return _RemoteStore.from_url(str(path), storage_options=options, read_only=True)
    return LocalStore(path, read_only=True)
