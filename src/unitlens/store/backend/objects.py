"""Objects at a URL: they appear whole when they are written, and nothing can be appended to them.

The counterparts of what :mod:`unitlens.store.backend.files` does with local files.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from unitlens.store.backend.places import filesystem, key_of, reaching

PIECE_BYTES = 5 * 2**20  # the smallest piece of an upload that S3 takes
_REQUEST_BYTES = 2**23
_REQUESTS = 8  # at a time


def put(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write an object whole.

    Raises
    ------
    FileExistsError
        Where it is to be a `new` one, and there is one.
    """
    with reaching(path):
        filesystem(path).pipe_file(key_of(path), content, mode="create" if new else "overwrite")


def put_all(path: Path, contents: dict[str, bytes]) -> None:
    """Write objects under a place, many at a time."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        list(pool.map(lambda name: put(path / name, contents[name]), contents))


def get_all(path: Path, names: Sequence[str]) -> list[bytes | None]:
    """Return the contents of objects under a place; None of one that is missing."""
    root = key_of(path)
    with reaching(path):
        # With a first byte drivers need not ask for the size before.
        found = filesystem(path).cat_ranges([f"{root}/{name}" for name in names], 0, None)
        return [_content(of) for of in found]


def _content(found: bytes | Exception) -> bytes | None:
    """Return what has come of a request; None where there is no such object."""
    if isinstance(found, FileNotFoundError):
        return None
    if isinstance(found, Exception):
        if _is_beyond(found):
            return b""
        raise found
    return bytes(found)


def _is_beyond(error: Exception) -> bool:
    """Tell whether a range was asked for that begins where an object has ended already."""
    return "not satisfiable" in str(error)


def names_in(path: Path) -> list[str]:
    """Return the names right under a place, in their order."""
    with reaching(path):
        try:
            found = filesystem(path).ls(key_of(path), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(name.rstrip("/").rpartition("/")[2] for name in found)


def sizes_under(path: Path) -> dict[str, int]:
    """Return the bytes of every object under a place by its name from there: one listing."""
    root = f"{key_of(path)}/"
    with reaching(path):
        found = filesystem(path).find(key_of(path), detail=True)
    return {name.removeprefix(root): int(about["size"]) for name, about in found.items()}


def remove(path: Path) -> None:
    """Remove an object, if it is there."""
    with reaching(path), suppress(FileNotFoundError):
        filesystem(path).rm_file(key_of(path))


def remove_all(path: Path, names: Iterable[str]) -> None:
    """Remove objects under a place."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        list(pool.map(lambda name: remove(path / name), names))


class GrowingObject:
    """An object that is sent piece by piece, and is there when it is finished.

    Parameters
    ----------
    path
        Its place.

    Attributes
    ----------
    size
        Bytes so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._upload: Any = None
        self.size = 0

    def append(self, pieces: Iterable[bytes]) -> None:
        """Take the next pieces, and send what is enough for a request."""
        with reaching(self._path):
            if self._upload is None:
                self._upload = filesystem(self._path).open(
                    key_of(self._path), "wb", block_size=PIECE_BYTES
                )
            for piece in pieces:
                self.size += self._upload.write(piece)

    def finish(self) -> None:
        """Send the rest: the object appears."""
        with reaching(self._path):
            self._upload.close()

    def discard(self) -> None:
        """Give up what has been sent: no object is left."""
        from fsspec.spec import AbstractBufferedFile

        if self._upload is None:
            return
        with reaching(self._path):
            if isinstance(self._upload, AbstractBufferedFile):
                self._upload.discard()
                self._upload.closed = True  # or its end as a Python object would finish it
            else:  # it has been there from its beginning
                self._upload.close()
                remove(self._path)


class ObjectRanges:
    """An object of which ranges are read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def whole(self) -> bytes:
        """Return all of it."""
        return self._get([(0, None)])[0]

    def tail(self, size: int) -> bytes:
        """Return its last bytes, fewer where it is shorter."""
        return self._get([(-size, None)])[0]

    def pieces(self, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """Yield ranges, given by their first bytes and lengths: neighbours in one request."""
        runs = list(_runs(spans))
        for first in range(0, len(runs), _REQUESTS):
            batch = runs[first : first + _REQUESTS]
            bodies = self._get([(run[0][0], sum(run[-1])) for run in batch])
            for run, body in zip(batch, bodies, strict=True):
                for place, length in run:
                    start = place - run[0][0]
                    yield body[start : start + length]

    def _get(self, ranges: Sequence[tuple[int, int | None]]) -> list[bytes]:
        starts, ends = (list(limits) for limits in zip(*ranges, strict=True))
        paths = [key_of(self._path)] * len(ranges)
        with reaching(self._path):
            try:
                found = filesystem(self._path).cat_ranges(paths, starts, ends, on_error="raise")
            except FileNotFoundError as error:  # drivers leave the name out
                raise FileNotFoundError(error.errno, str(error), str(self._path)) from error
            except OSError as error:
                if not _is_beyond(error):
                    raise
                found = [b""] * len(ranges)  # it ends before: the checksum tells
        return list(found)


def _runs(spans: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Gather ranges that lie one behind the other, up to what one request takes."""
    run: list[tuple[int, int]] = []
    for place, length in spans:
        if run and (place != sum(run[-1]) or place + length - run[0][0] > _REQUEST_BYTES):
            yield run
            run = []
        run.append((place, length))
    if run:
        yield run
