"""A Zarr store that reads only what its record vouches for."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from pathlib import Path

from zarr.abc.store import (
    ByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from unitlens.errors import TableError, first_line
from unitlens.hashed_files import hash_bytes
from unitlens.store.backend.zarr_places import zarr_store
from unitlens.tables.tables_record import AGAIN

_MEANWHILE = "or the tables were joined anew since they were opened"


class CheckedTableStore(WrapperStore[Store]):
    """The files of one table, each compared with its hash before it is used.

    A file that the record does not name is not there; a file that it names must be.

    Parameters
    ----------
    store
        Zarr's store of the files.
    place
        Directory of the table, for messages.
    hashes
        Key of each file in the store to the hash of its bytes.
    """

    def __init__(self, store: Store, place: Path, hashes: Mapping[str, str]) -> None:
        super().__init__(store)
        self._place, self._hashes = place, dict(hashes)

    def _with_store(self, store: Store) -> "CheckedTableStore":
        return type(self)(store, self._place, self._hashes)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the bytes of a file, None where the record names no such file."""
        if key not in self._hashes:
            return None
        try:
            content = await self._store.get(key, prototype)
        except OSError as error:
            raise TableError(
                f"{self._place / key} cannot be read ({first_line(error)}); {AGAIN}"
            ) from error
        if content is None:
            raise TableError(
                f"{self._place / key} is missing, {_MEANWHILE}: open them again; if it is still "
                f"missing, {AGAIN}"
            )
        if hash_bytes(content.to_bytes()) != self._hashes[key]:
            raise TableError(
                f"{self._place / key} is damaged: its content differs from what was written, "
                f"{_MEANWHILE}: open them again; if it still differs, {AGAIN}"
            )
        return content if byte_range is None else content[_slice(byte_range, len(content))]

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return parts of files, as :meth:`get` does."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, part in requests:
            yield key, await self.get(key, prototype, part)

    async def exists(self, key: str) -> bool:
        """Tell whether the record names a file."""
        return key in self._hashes

    async def is_empty(self, prefix: str) -> bool:
        """Tell whether the record names no file under a prefix."""
        return not any(key.startswith(prefix) for key in self._hashes)

    async def list(self) -> AsyncIterator[str]:
        """Yield the files that the record names."""
        for key in self._hashes:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the files under a prefix that the record names."""
        for key in self._hashes:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a directory, of files that the record names."""
        start = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        inside = (key[len(start) :] for key in self._hashes if key.startswith(start))
        for name in dict.fromkeys(key.partition("/")[0] for key in inside):
            yield name


def _slice(part: ByteRequest, size: int) -> slice:
    if isinstance(part, RangeByteRequest):
        return slice(part.start, part.end)
    if isinstance(part, SuffixByteRequest):
        return slice(max(0, size - part.suffix), size)
    return slice(part.offset, size)


def open_checked(place: Path, hashes: Mapping[str, str]) -> CheckedTableStore:
    """Return the checked store of a table.

    Parameters
    ----------
    place
        Directory of the table, or the place of its URL.
    hashes
        Key of each file in it to the hash of its bytes.
    """
    return CheckedTableStore(zarr_store(place), place, hashes)
