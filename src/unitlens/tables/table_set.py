"""Writing all tables of a results directory: the earlier set stays until the new one is whole."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree

import xarray as xr

from unitlens.errors import StoreError, TableError, first_line
from unitlens.extras import require
from unitlens.hashed_files import hash_file, write_json
from unitlens.local_files import flush_directory, flush_to_disk
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.store.backend.lock import hold_lock
from unitlens.tables.storage import TABLES, tidy_frame, with_object_text
from unitlens.tables.tables_record import FINAL, KEPT, RECORD, Sizes, TablesRecord

PARTIAL, EARLIER = ".tables.partial", ".tables.earlier"  # the new set, and the old one meanwhile
_LOCK = ".tables.lock"
_FLUSHES = 8  # at a time

Tables = Mapping[str, xr.Dataset]


def write_table_set(
    directory: Path,
    sets: Mapping[str, Tables],
    *,
    failed: Mapping[str, str],
    provenance: FileProvenance,
) -> TablesRecord:
    """Write tables as ``{name}.zarr`` and ``{name}.parquet``, and their record ``tables.json``.

    All files are written to a folder beside, flushed to the disk and renamed, the record last.
    Where this fails, the earlier tables stay as they were. A process that is killed while it
    renames leaves no record, so that nobody reads a mixture.

    Parameters
    ----------
    directory
        The results directory. Tables of an earlier call that are not among `sets` are removed.
    sets
        ``final`` to the tables over runs by their names, of :data:`TABLES`, and ``checkpoints`` to
        those over kept epochs, which are written to a folder of that name.
    failed
        Each run that is left out, to the reason.
    provenance
        What the tables were made from.

    Returns
    -------
    The record.

    Raises
    ------
    TableError
        Where the disk is full or read-only.
    StoreError
        Where another process writes the tables.
    """
    partial = directory / PARTIAL
    with _writing(directory), _locked(directory):
        try:
            rmtree(partial, ignore_errors=True)
            for of, tables in sets.items():
                _write_tables(tables, partial / _folder(of))
            names = [file.relative_to(partial) for file in partial.rglob("*") if file.is_file()]
            record = TablesRecord(
                tables={of: _sizes(tables) for of, tables in sets.items()},
                files={name.as_posix(): hash_file(partial / name) for name in sorted(names)},
                failed=dict(failed),
                provenance=provenance.to_values(),
            )
            _flush(partial)
            write_json(partial / RECORD, record.to_values())
            _install(directory)
        finally:
            rmtree(partial, ignore_errors=True)
    return record


def _folder(of: str) -> str:
    return "" if of == FINAL else KEPT


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Raise TableError where the system refuses to write."""
    try:
        yield
    except OSError as error:
        raise TableError(_refusal(directory, error)) from error


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of the tables."""
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(directory / _LOCK, f"the set of tables in {directory}"))
        except StoreError as error:
            if isinstance(error.__cause__, OSError):
                raise TableError(_refusal(directory, error.__cause__)) from error
            raise
        yield


def _refusal(directory: Path, error: OSError) -> str:
    return (
        f"the tables in {directory} cannot be written ({first_line(error)}); the earlier tables "
        "are as they were; mend this and run snakemake again"
    )


def _write_tables(tables: Tables, directory: Path) -> None:
    require("pyarrow")
    directory.mkdir(parents=True)
    for name, table in tables.items():
        plain = with_object_text(table)
        plain.to_zarr(directory / f"{name}.zarr", mode="w", zarr_format=3, consolidated=False)
        tidy_frame(table, name).to_parquet(directory / f"{name}.parquet", index=False)


def _sizes(tables: Tables) -> Sizes:
    return {
        name: {str(dim): size for dim, size in table.sizes.items()}
        for name, table in tables.items()
    }


def _flush(directory: Path) -> None:
    """Wait until all files of a directory, and their names, are on the disk."""
    entries = list(directory.rglob("*"))
    files = [entry for entry in entries if entry.is_file()]
    directories = [entry for entry in entries if entry.is_dir()]
    with ThreadPoolExecutor(_FLUSHES) as pool:  # disks flush several at once
        list(pool.map(flush_to_disk, files))
        list(pool.map(flush_directory, [*directories, directory]))


def _install(directory: Path) -> None:
    """Give the new set the names of the earlier one; undo this where it fails."""
    partial, earlier = directory / PARTIAL, directory / EARLIER
    rmtree(earlier, ignore_errors=True)
    moved: list[tuple[Path, Path]] = []
    try:
        # Without the record, the files that are moved next are no tables for a reader.
        for name in _names_of_tables(directory):
            _move(directory / name, earlier / name, moved)
            if name == RECORD:
                flush_directory(directory)
        for name in reversed(_names_of_tables(partial)):
            if name == RECORD:
                _flush_names(directory)
            _move(partial / name, directory / name, moved)
    except BaseException:
        for source, target in reversed(moved):
            with suppress(OSError):
                target.replace(source)
        raise
    _flush_names(directory)
    rmtree(earlier, ignore_errors=True)
    with suppress(OSError):  # a folder of kept epochs that has become empty
        (directory / KEPT).rmdir()


def _names_of_tables(directory: Path) -> list[str]:
    """Return the files and folders of tables in a directory, the record first."""
    names = [RECORD] + [
        f"{folder}{name}.{kind}"
        for folder in ("", f"{KEPT}/")
        for name in TABLES
        for kind in ("zarr", "parquet")
    ]
    return [name for name in names if (directory / name).exists()]


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    moved.append((source, target))
    source.replace(target)


def _flush_names(directory: Path) -> None:
    for place in (directory, directory / KEPT):
        if place.is_dir():
            flush_directory(place)
