"""The steps of a network that are finished, and copies of their files while a job goes on."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from unitlens.local_files import replacing
from unitlens.planning.network_steps import NETWORK_STEPS
from unitlens.planning.stale_files import stale_network_files
from unitlens.provenance.file_provenance import FileProvenance

_COPIES = ".finished"


class FinishedSteps:
    """The finished steps of a network: those whose files are there and fit.

    Where a job fails, Snakemake removes all files that the job declares, those of its finished
    steps too. Copies beside them are what the next job goes on from.

    Parameters
    ----------
    network
        Directory of the network.
    provenances
        Name of each step to the provenance that its files must have.
    """

    def __init__(self, network: Path, provenances: Mapping[str, FileProvenance]) -> None:
        self._network, self._copies = network, network / _COPIES
        self._expected = {
            file: provenance
            for step, provenance in provenances.items()
            for file in NETWORK_STEPS[step].files
        }

    def is_finished(self, step: str) -> bool:
        """Tell whether a step is finished; copies of its files are put back where that makes it so.

        Parameters
        ----------
        step
            Name of the step.
        """
        return self._fits(step) or (self._put_back(step) and self._fits(step))

    def keep(self, step: str) -> None:
        """Copy the files of a finished step.

        Parameters
        ----------
        step
            Name of the step.
        """
        for file in NETWORK_STEPS[step].files:
            _copy(self._network / file, self._copies / file)

    def remove_copies(self) -> None:
        """Remove all copies, when all steps are finished."""
        if self._copies.is_dir():
            shutil.rmtree(self._copies)

    def _fits(self, step: str) -> bool:
        files = NETWORK_STEPS[step].files
        if not all((self._network / file).is_file() for file in files):
            return False
        return not stale_network_files(self._network, self._expected).keys() & set(files)

    def _put_back(self, step: str) -> bool:
        """Put the copies of a step's files back; tell whether there were any."""
        files = NETWORK_STEPS[step].files
        if not all((self._copies / file).is_file() for file in files):
            return False
        for file in files:
            _copy(self._copies / file, self._network / file)
        return True


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        shutil.copy2(source, partial)
