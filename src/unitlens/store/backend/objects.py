"""Objects at a URL: each is written whole, and none can be appended to.

The functions are the counterparts of those for local files in
:mod:`unitlens.store.backend.files`.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from unitlens.store.backend.places import filesystem, key_of, reaching

PIECE_BYTES = 5 * 2**20  # the smallest piece of an upload that S3 accepts
_REQUEST_BYTES = 2**23
_REQUESTS = 8  # at a time


def put(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write an object.

    Parameters
    ----------
    path
        Its place.
    content
        All bytes of the object.
    new
        Whether an object that exists is refused instead of replaced.

    Raises
    ------
    FileExistsError
        Where `new` is true and the object exists.
    """
    with reaching(path):
        filesystem(path).pipe_file(key_of(path), content, mode="create" if new else "overwrite")


def put_all(path: Path, contents: dict[str, bytes]) -> None:
    """Write objects under a place, several at a time, given by their names."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        list(pool.map(lambda name: put(path / name, contents[name]), contents))


def get_all(path: Path, names: Sequence[str]) -> list[bytes | None]:
    """Return the contents of objects under a place, None for each missing object."""
    root = key_of(path)
    with reaching(path):
        # With a first byte drivers send no requests for the sizes of the objects.
        responses = filesystem(path).cat_ranges([f"{root}/{name}" for name in names], 0, None)
        return [_content(response) for response in responses]


def _content(response: bytes | Exception) -> bytes | None:
    """Return the bytes of a response, None where the object is missing."""
    if isinstance(response, FileNotFoundError):
        return None
    if isinstance(response, Exception):
        if _is_beyond(response):
            return b""
        raise response
    return bytes(response)


def _is_beyond(error: Exception) -> bool:
    """Tell whether a request was refused because its range begins after the object's end."""
    return "not satisfiable" in str(error)


def names_in(path: Path) -> list[str]:
    """Return the names of the objects and folders right under a place, sorted."""
    with reaching(path):
        try:
            keys = filesystem(path).ls(key_of(path), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(key.rstrip("/").rpartition("/")[2] for key in keys)


def sizes_under(path: Path) -> dict[str, int]:
    """Return the bytes of every object under a place, by its name from there, from one listing."""
    root = f"{key_of(path)}/"
    with reaching(path):
        entries = filesystem(path).find(key_of(path), detail=True)
    return {key.removeprefix(root): int(entry["size"]) for key, entry in entries.items()}


def remove(path: Path) -> None:
    """Remove an object where it exists."""
    with reaching(path), suppress(FileNotFoundError):
        filesystem(path).rm_file(key_of(path))


def remove_all(path: Path, names: Iterable[str]) -> None:
    """Remove objects under a place, several at a time."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        list(pool.map(lambda name: remove(path / name), names))


class GrowingObject:
    """An object that is sent in pieces and appears when it is finished.

    Parameters
    ----------
    path
        Its place.

    Attributes
    ----------
    size
        Bytes that were appended so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._upload: Any = None
        self.size = 0

    def append(self, pieces: Iterable[bytes]) -> None:
        """Append bytes; they are sent as soon as they fill a request."""
        with reaching(self._path):
            if self._upload is None:
                self._upload = filesystem(self._path).open(
                    key_of(self._path), "wb", block_size=PIECE_BYTES
                )
            for piece in pieces:
                self.size += self._upload.write(piece)

    def finish(self) -> None:
        """Send the remaining bytes: the object appears."""
        with reaching(self._path):
            self._upload.close()

    def discard(self) -> None:
        """Abandon the upload: no object remains."""
        from fsspec.spec import AbstractBufferedFile

        if self._upload is None:
            return
        with reaching(self._path):
            if isinstance(self._upload, AbstractBufferedFile):
                self._upload.discard()
                self._upload.closed = True  # otherwise its destructor would finish the upload
            else:  # the driver has shown the object from its first byte
                self._upload.close()
                remove(self._path)


class ObjectRanges:
    """Reads ranges of an object."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def whole(self) -> bytes:
        """Return all bytes."""
        return self._get([(0, None)])[0]

    def tail(self, size: int) -> bytes:
        """Return the last `size` bytes, fewer where the object is shorter."""
        return self._get([(-size, None)])[0]

    def pieces(self, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """Yield ranges, given by offset and length; neighbours share a request."""
        runs = list(_runs(spans))
        for first in range(0, len(runs), _REQUESTS):
            batch = runs[first : first + _REQUESTS]
            bodies = self._get([(run[0][0], sum(run[-1])) for run in batch])
            for run, body in zip(batch, bodies, strict=True):
                for offset, length in run:
                    start = offset - run[0][0]
                    yield body[start : start + length]

    def _get(self, ranges: Sequence[tuple[int, int | None]]) -> list[bytes]:
        starts, ends = (list(limits) for limits in zip(*ranges, strict=True))
        keys = [key_of(self._path)] * len(ranges)
        with reaching(self._path):
            try:
                bodies = filesystem(self._path).cat_ranges(keys, starts, ends, on_error="raise")
            except FileNotFoundError as error:  # drivers leave the name out
                raise FileNotFoundError(error.errno, str(error), str(self._path)) from error
            except OSError as error:
                if not _is_beyond(error):
                    raise
                bodies = [b""] * len(ranges)  # the object is too short: its checksum will tell
        return list(bodies)


def _runs(spans: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Yield runs of adjacent ranges, each run at most as long as one request."""
    run: list[tuple[int, int]] = []
    for offset, length in spans:
        if run and (offset != sum(run[-1]) or offset + length - run[0][0] > _REQUEST_BYTES):
            yield run
            run = []
        run.append((offset, length))
    if run:
        yield run
