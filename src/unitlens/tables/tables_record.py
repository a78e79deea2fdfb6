"""The record ``tables.json``: the sizes of all tables, the hash of each of their files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unitlens.errors import TableError
from unitlens.hashed_files import hash_values, parse_json, reading
from unitlens.store.backend.places import is_remote, reaching

RECORD = "tables.json"
FINAL, KEPT = "final", "checkpoints"  # the latter is a folder, too
COMMAND = "snakemake --cores 8 all"
AGAIN = f"remove {RECORD} of the results and run: {COMMAND}; the tables are joined anew"

Sizes = dict[str, dict[str, int]]


@dataclass(frozen=True)
class TablesRecord:
    """What vouches for the tables of a results directory.

    Attributes
    ----------
    tables
        ``final``, and ``checkpoints`` where there are kept epochs, to the sizes of each table.
    files
        Path of each file of the tables in the results directory to the hash of its bytes.
    failed
        Name of each run that is left out to the reason why its training failed.
    provenance
        What the tables were made from, as values of
        :class:`unitlens.provenance.file_provenance.FileProvenance`.
    """

    tables: Mapping[str, Sizes]
    files: Mapping[str, str]
    failed: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_values(self) -> dict[str, Any]:
        """Return the record as plain values, as the file holds it."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """The hash of the record, which is the file's key ``hash``."""
        return hash_values(self.to_values())


def read_tables_record(directory: Path) -> TablesRecord:
    """Read the record of the tables of a results directory.

    Parameters
    ----------
    directory
        The results directory: a local path or the place of a URL.

    Raises
    ------
    TableError
        Where the directory holds no results, the record is damaged, or unitlens before 0.3 made
        it.
    """
    path = directory / RECORD
    if not path.exists():
        if (directory / "runs.zarr").exists():
            raise TableError(
                f"the tables in {directory} lack their record {RECORD}: the step that joins them "
                f"did not end; run: {COMMAND}"
            )
        raise TableError(f"there are no results in {directory} (no {RECORD}); make them: {COMMAND}")
    remedy = f"remove it and run: {COMMAND}; the tables are joined anew"
    raw = _read_bytes(path, remedy)
    values = parse_json(raw, path, error=TableError, remedy=remedy, require_hash=False)
    if "files" not in values:
        raise TableError(
            f"the tables in {directory} were made by unitlens before 0.3 and have no hashes; "
            "run snakemake again: trained networks are kept"
        )
    values = parse_json(raw, path, error=TableError, remedy=remedy)
    return TablesRecord(**values)


def _read_bytes(path: Path, remedy: str) -> bytes:
    if is_remote(path):
        with reaching(path):
            return path.read_bytes()
    with reading(path, error=TableError, remedy=remedy):
        return path.read_bytes()
