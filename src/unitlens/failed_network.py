"""Networks whose training failed and that a configuration leaves out (``failed_runs: skip``)."""

from collections.abc import Sequence
from pathlib import Path

from unitlens.errors import ModelError
from unitlens.hashed_files import read_json, write_hashed, write_json
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.provenance.misfits import CHECKPOINT
from unitlens.store.backend.places import is_remote

FAILED = "failed"


def failure_of(network: Path) -> str:
    """Return why the training of a network failed, empty where it did not fail.

    Parameters
    ----------
    network
        Directory of the network; that of a kept epoch fails with its run.
    """
    if is_remote(network):
        return ""
    for record in (network / CHECKPOINT, network.parent / CHECKPOINT):
        if record.is_file():
            values = read_json(
                record,
                error=ModelError,
                remedy="remove the file and run snakemake again",
                require_hash=False,
            )
            if values.get(FAILED):
                return str(values[FAILED])
    return ""


def write_left_out(
    network: Path, files: Sequence[str], reason: str, provenance: FileProvenance
) -> None:
    """Write the files of a step for a network that is left out: a reason in place of numbers.

    Parameters
    ----------
    network
        Directory of the network.
    files
        Paths of the files in the directory.
    reason
        Why the network is left out.
    provenance
        The provenance that the files would have.
    """
    values = provenance.to_values()
    for name in files:
        path = network / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            write_json(path, {FAILED: reason, "provenance": values})
        else:
            write_hashed(path, f"left out: {reason}\n".encode(), values)
