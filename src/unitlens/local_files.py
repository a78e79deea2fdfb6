"""Files on a local disk, written whole or not at all.

A file is written under the temporary name ``{name}.partial``, flushed to the disk, and renamed. A
reader finds the earlier file or the new one, also after a kill or a power failure.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

PARTIAL_SUFFIX = ".partial"


def partial_path(path: Path) -> Path:
    """Return the temporary name of a file while it is written.

    Examples
    --------
    >>> partial_path(Path("runs.json")).name
    'runs.json.partial'
    """
    return path.with_name(f"{path.name}{PARTIAL_SUFFIX}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file by a new one that the caller writes.

    Parameters
    ----------
    path
        The file; its directory exists.

    Yields
    ------
    The temporary path to write to. After the block the new file is flushed to the disk and gets
    the name `path`. Where the block raises, the temporary file is removed and an earlier file at
    `path` stays as it is.
    """
    partial = partial_path(path)
    try:
        yield partial
        flush_to_disk(partial)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def flush_to_disk(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     write_whole(Path(directory) / "runs.json", b"[]")
    ...     [file.name for file in Path(directory).iterdir()]
    ['runs.json']
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def save_netcdf(
    table: "xr.Dataset", path: Path, encoding: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Write a table as netCDF4.

    Parameters
    ----------
    table
        The table.
    path
        The file.
    encoding
        How variables are stored, by their names, as :meth:`xarray.Dataset.to_netcdf` takes it.
    """
    with replacing(path) as partial:
        table.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
