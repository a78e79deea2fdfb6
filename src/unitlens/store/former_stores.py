"""Stores of unitlens before 0.3: read once, and kept with the checksums of their chunks."""

import logging
from dataclasses import replace
from pathlib import Path

from unitlens.store.format.manifest import Manifest, write_manifest
from unitlens.store.verify import StoreReading

logger = logging.getLogger("unitlens")


def adopt_store(path: Path, manifest: Manifest) -> bool:
    """Read a store whose manifest states no checksums of chunks, and state these checksums.

    Parameters
    ----------
    path
        The store. The caller holds its lock.
    manifest
        Its manifest, of version 3.

    Returns
    -------
    Whether every shard holds the values whose hashes the manifest states. Where one does not, the
    manifest stays as it is.
    """
    reading = StoreReading(path, manifest)
    reading.run()
    if reading.faults:
        logger.warning("%s: %s; it is recorded again", path, reading.faults[0])
        return False
    files = tuple(
        replace(
            file,
            checksums=tuple(
                reading.checksums[file.array.path, shard] for shard in range(file.array.shard_count)
            ),
        )
        for file in manifest.files
    )
    write_manifest(path, replace(manifest, files=files))
    logger.info("%s, of unitlens before 0.3, was read and is kept", path)
    return True
