"""Whether the files of a network are what the plan says, of this network and of each other."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unitlens.config.runs import dataset_name, is_kept_epoch
from unitlens.errors import TableError
from unitlens.hashed_files import read_json, read_trailer
from unitlens.provenance.file_provenance import DATASET, WEIGHTS, FileProvenance
from unitlens.provenance.misfits import HISTORY
from unitlens.store.format.manifest import read_manifest
from unitlens.tables.run_table import RecordedNetwork

ExpectedFiles = Mapping[str, Mapping[str, Any]]  # file of a network to its provenance, as values
AGAIN = "remove {path} and run snakemake again: it computes the file anew and keeps the network"
DATASET_AGAIN = "remove the file and run snakemake again: it prepares the data set anew"


class InputChecker:
    """Checks the files of networks against their settings, code and inputs.

    Parameters
    ----------
    results
        Directory of the networks.
    expected
        Name of each network to its files, by their paths in its directory, each with the
        provenance that the file must state; None where any settings and code will do. Then a file
        may also state no provenance.
    """

    def __init__(self, results: Path, expected: Mapping[str, ExpectedFiles] | None) -> None:
        self._results, self._expected = results, expected
        self._datasets: dict[str, str | None] = {}
        self._hashes: dict[str, str] = {}

    @property
    def hashes(self) -> dict[str, str]:
        """Hash of each file that was checked, by its path in the directory of the networks."""
        return dict(self._hashes)

    def check(self, network: str, record: RecordedNetwork, joined: list[str]) -> None:
        """Check the files of a network.

        Parameters
        ----------
        network
            Name of the network.
        record
            Its record.
        joined
            The files that tables are made of, by their paths in the directory of the network.

        Raises
        ------
        TableError
            Where a file is of other settings, another code, another network or another data set,
            or was computed from another file than the one beside it; or where a file of `joined`
            is missing that the plan names.
        """
        directory, expected = self._results / network, (self._expected or {}).get(network, {})
        present = {WEIGHTS: record.weights_hash, DATASET: self._dataset_hash(record)}
        for name in dict.fromkeys((*expected, *joined)):
            path = directory / name
            if path.exists():
                if name.endswith(".nc"):
                    self._check_file(network, name, expected.get(name), present)
            elif name in joined and name in expected:
                raise TableError(f"{path} is missing; run snakemake again: it computes the file")
        if self._expected is not None and not is_kept_epoch(network):
            self._check_history(directory / HISTORY)

    def _check_history(self, path: Path) -> None:
        """Raise TableError where a run has lost the scores over its training."""
        if not path.exists():
            raise TableError(
                f"{path} is missing; put it back, or run snakemake again: it trains the network "
                "anew, for nothing else holds these scores"
            )

    def _check_file(
        self,
        network: str,
        name: str,
        expected: Mapping[str, Any] | None,
        present: Mapping[str, str | None],
    ) -> None:
        directory = self._results / network
        path = directory / name
        trailer, remedy = read_trailer(path), AGAIN.format(path=path)
        stated = FileProvenance.from_values(trailer.provenance) if trailer else None
        if trailer is None:
            raise TableError(
                f"{path} carries no hash at its end: it is cut off, or of unitlens before 0.3; "
                f"{remedy}"
            )
        self._hashes[f"{network}/{name}"] = trailer.hash
        if stated is None:
            if expected is None:
                return
            raise TableError(f"{path} does not state what it was computed from; {remedy}")
        wanted = (FileProvenance.from_values(expected) if expected else None) or stated
        inputs = _present_inputs(directory, stated, present)
        difference = stated.find_difference(replace(wanted, inputs=inputs))
        if difference:
            raise TableError(f"{path} does not fit: {difference}; {remedy}")

    def _dataset_hash(self, record: RecordedNetwork) -> str | None:
        """Return the content hash of a network's data set, None where that is gone."""
        name = dataset_name(record.spec.dataset)
        if name not in self._datasets:
            path = self._results / "datasets" / name / "dataset.json"
            self._datasets[name] = None
            if path.exists():
                values = read_json(path, error=TableError, remedy=DATASET_AGAIN)
                self._datasets[name] = str(values["content_hash"])
        return self._datasets[name]


def _present_inputs(
    directory: Path, stated: FileProvenance, present: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the present hashes of those inputs of a file that exist."""
    found = {name: present.get(name) or _file_hash(directory / name) for name in stated.inputs}
    return {name: digest for name, digest in found.items() if digest is not None}


def _file_hash(path: Path) -> str | None:
    if not path.is_file():
        return None
    if path.suffix == ".json":  # the manifest of a store
        return read_manifest(path.with_suffix(".zarr")).content_hash
    trailer = read_trailer(path)
    return trailer.hash if trailer else ""
