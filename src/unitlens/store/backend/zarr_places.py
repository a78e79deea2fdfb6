"""Zarr's stores at places: local paths, and URLs."""

from pathlib import Path
from typing import Any, cast

from zarr.abc.store import ByteRequest, OffsetByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore

from unitlens.store.backend.places import is_remote, reaching


class _RemoteStore(FsspecStore):
    """Zarr's store at a URL; an object that cannot be reached is neither missing nor damaged."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        with reaching(f"{self.path}/{key}"):
            # With a first byte the driver sends no request for the size of the object.
            return await super().get(key, prototype, byte_range or OffsetByteRequest(0))


def zarr_store(path: Path) -> Store:
    """Return Zarr's read-only store at a place."""
    if is_remote(path):
        options = dict(cast("Any", path).storage_options)
        return _RemoteStore.from_url(str(path), storage_options=options, read_only=True)
    return LocalStore(path, read_only=True)
