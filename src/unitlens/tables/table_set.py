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
from unitlens.tables.unit_blocks import UnitBlocks

PARTIAL, EARLIER = ".tables.partial", ".tables.earlier"  # the new set, and the old one meanwhile
_LOCK = ".tables.lock"
_FLUSHES = 8  # at a time


@contextmanager
def new_table_set(directory: Path) -> Iterator["NewTableSet"]:
    """Give a new set of tables to write to, in place of the earlier set of a results directory.

    All files are written to a folder beside, flushed to the disk and renamed, the record last.
    Where the block raises, the earlier tables stay as they were. A process that is killed while it
    renames leaves no record, so that nobody reads a mixture.

    Parameters
    ----------
    directory
        The results directory. Tables of an earlier call that are not written anew are removed.

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
            yield NewTableSet(directory)
        finally:
            rmtree(partial, ignore_errors=True)


class NewTableSet:
    """Tables that are being written: ``{name}.zarr``, ``{name}.parquet``, ``tables.json``.

    Parameters
    ----------
    directory
        The results directory.
    """

    def __init__(self, directory: Path) -> None:
        require("pyarrow")
        self._directory, self._partial = directory, directory / PARTIAL
        self._sizes: dict[str, Sizes] = {}

    @contextmanager
    def blocks(self) -> Iterator[Path]:
        """Give a folder for what is needed while the tables are made, and is no table."""
        folder = self._partial / "blocks"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            rmtree(folder)

    def write(self, of: str, name: str, table: xr.Dataset) -> None:
        """Write a table whose numbers are in memory.

        Parameters
        ----------
        of
            ``final``, or ``checkpoints`` for a table over kept epochs.
        name
            Name of the table, of :data:`TABLES`.
        table
            The table.
        """
        plain, path = with_object_text(table), self._path(of, name)
        plain.to_zarr(path.with_suffix(".zarr"), mode="w", zarr_format=3, consolidated=False)
        tidy_frame(table, name).to_parquet(path.with_suffix(".parquet"), index=False)
        self._note(of, name, table)

    def write_units(self, of: str, blocks: UnitBlocks) -> xr.Dataset:
        """Write the table of all units, and return it: its numbers are read when they are used.

        Parameters
        ----------
        of
            ``final``, or ``checkpoints`` for a table over kept epochs.
        blocks
            The units.
        """
        path = self._path(of, "units")
        table = blocks.write_zarr(path.with_suffix(".zarr"))
        blocks.write_parquet(path.with_suffix(".parquet"))
        self._note(of, "units", table)
        return table

    def install(self, *, failed: Mapping[str, str], provenance: FileProvenance) -> TablesRecord:
        """Give the new tables their names, and return their record.

        Parameters
        ----------
        failed
            Each run that is left out, to the reason.
        provenance
            What the tables were made from.
        """
        partial = self._partial
        names = [file.relative_to(partial) for file in partial.rglob("*") if file.is_file()]
        record = TablesRecord(
            tables=self._sizes,
            files={name.as_posix(): hash_file(partial / name) for name in sorted(names)},
            failed=dict(failed),
            provenance=provenance.to_values(),
        )
        _flush(partial)
        write_json(partial / RECORD, record.to_values())
        _install(self._directory)
        return record

    def _path(self, of: str, name: str) -> Path:
        folder = self._partial / ("" if of == FINAL else KEPT)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def _note(self, of: str, name: str, table: xr.Dataset) -> None:
        sizes = {str(dim): size for dim, size in table.sizes.items()}
        self._sizes.setdefault(of, {})[name] = sizes


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
