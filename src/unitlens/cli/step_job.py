"""A job that does one step for one network: its lock, its inputs, the provenance of its files."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from unitlens.cli.job import work
from unitlens.config.base import FunctionSettings
from unitlens.failed_network import failure_of, write_left_out
from unitlens.hashed_files import read_trailer
from unitlens.planning.network_steps import NETWORK_STEPS
from unitlens.provenance.file_provenance import DATASET, WEIGHTS, FileProvenance
from unitlens.store.backend.lock import hold_lock
from unitlens.store.backend.places import is_remote

if TYPE_CHECKING:
    import xarray as xr

    from unitlens.stored_network import StoredNetwork

logger = logging.getLogger("unitlens")


class StepJob:
    """A job that does one step for one network.

    Parameters
    ----------
    step
        Name of the step, of :data:`unitlens.planning.network_steps.NETWORK_STEPS`.
    section
        The settings of the step.
    code
        Digest of the code of the step.
    network
        Directory of the network: a path or the place of a URL.
    dataset
        The dataset.json of the prepared data set, where the step reads it.
    part
        File that the job writes in place of those of the step, where it does a part; its path in
        the directory of the network.
    """

    def __init__(
        self,
        step: str,
        section: FunctionSettings,
        code: str,
        network: Path,
        dataset: Path | None = None,
        part: Path | None = None,
    ) -> None:
        self.network = network
        self._part = part
        self._step, self._section, self._code = NETWORK_STEPS[step], section, code
        self._dataset = dataset

    @cached_property
    def stored(self) -> "StoredNetwork":
        """The network with its prepared data set."""
        from unitlens.stored_network import StoredNetwork

        directory = self._dataset.parent if self._dataset is not None else None
        return StoredNetwork(self.network, directory)

    def is_left_out(self) -> bool:
        """Tell whether the training of the network failed; then write the reason as the files."""
        reason = failure_of(self.network)
        if reason:
            logger.warning("%s is left out: %s", self.network, reason)
            files = self._step.files if self._part is None else (str(self._part),)
            write_left_out(self.network, files, reason, self._with_inputs({WEIGHTS: ""}))
        return bool(reason)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Account for the time of the work; no other process does the step or part meanwhile."""
        name = self._step.name if self._part is None else f"{self._step.name}-{self._part.stem}"
        lock = self.network / f".{name}.lock"
        what = f"{self._step.name.replace('_', ' ')} of {self.network}"
        held = nullcontext() if is_remote(self.network) else hold_lock(lock, what)
        with held, work():
            yield

    def provenance(self, *files: str) -> FileProvenance:
        """Return the provenance of what the job writes.

        Parameters
        ----------
        *files
            The files of the network that were read, by their paths in its directory. The network
            and its data set are those that were opened, or else those that the files state.
        """
        trailers = {name: read_trailer(self.network / name) for name in files}
        read = {name: trailer for name, trailer in trailers.items() if trailer}
        stated: dict[str, str] = {}
        for trailer in read.values():
            stated |= trailer.provenance.get("inputs", {})
        of_network = {key: stated[key] for key in (WEIGHTS, DATASET) if key in stated}
        if self._dataset is not None:
            of_network = dict(self.stored.inputs)
        hashes = {name: trailer.hash for name, trailer in read.items()}
        return self._with_inputs({**of_network, **hashes})

    def provenance_of_stores(self, stores: Mapping[str, "xr.DataTree"]) -> FileProvenance:
        """Return the provenance of what the job computes from stores of activations.

        Parameters
        ----------
        stores
            Split to the opened store.
        """
        inputs: dict[str, str] = {}
        for split, store in stores.items():
            inputs[f"{split}/activations.json"] = store.attrs["content_hash"]
            for key, attribute in ((WEIGHTS, "weights_hash"), (DATASET, "dataset_hash")):
                if attribute in store.attrs:
                    inputs[key] = store.attrs[attribute]
        return self._with_inputs(inputs)

    def _with_inputs(self, inputs: Mapping[str, str]) -> FileProvenance:
        return FileProvenance(self._step.name, self._section.content(), self._code, inputs)
