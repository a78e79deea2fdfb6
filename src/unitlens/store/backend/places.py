"""Places of stores: local paths, and URLs that fsspec has a driver for.

The place of a URL is a ``upath.UPath``. It has the interface of pathlib, so paths beside and inside
a store are made in the same way for both. Such a place is typed as `Path` here, because upath is an
optional dependency. :mod:`unitlens.store.backend.files` reads and writes the files of both kinds.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from unitlens.errors import ArgumentError, StoreError

_EXTRA = "pip install 'unitlens[remote]'"
_ACCESS = (
    "check the address, the connection and the credentials: fsspec's configuration holds them, "
    "for s3 also AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ..."
)
_LOCAL = ("", "file", "local")


def locate(path: str | Path) -> Path:
    """Return the place of a path or of a URL.

    Raises
    ------
    ArgumentError
        Where the scheme of the URL is unknown, or a library for the scheme is missing.
    StoreError
        Where the server or the bucket of the URL cannot be reached.
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
    """Tell whether a place is that of a URL."""
    return not isinstance(path, Path)


def filesystem(path: Path) -> Any:
    """Return fsspec's file system of a URL's place."""
    return cast("Any", path).fs


def key_of(path: Path) -> str:
    """Return the name of a URL's place in its file system."""
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
        # Listings are not cached: objects that another process writes meanwhile must be seen.
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
        is_there = system.exists(place.path) or not place.drive or system.exists(place.drive)
    if not is_there:
        raise StoreError(
            f"the bucket {place.drive} of {url} cannot be found; make it, or {_ACCESS}"
        )
    return cast("Path", place)


@contextmanager
def reaching(target: object) -> Iterator[None]:
    """Raise StoreError for every error of a driver, except for missing and existing files."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise StoreError(
            f"{target} cannot be reached ({reason}); {_ACCESS}, then try again"
        ) from error
