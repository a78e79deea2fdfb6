"""A network that the directory of a run holds already: whether it is the result of a training."""

import math
from pathlib import Path
from typing import Any

import torch

from unitlens.config.looks import epoch_text, look_folder
from unitlens.config.networks import RunSpec
from unitlens.data.split import SplitDataset
from unitlens.errors import ModelError
from unitlens.hashed_files import write_hashed
from unitlens.provenance.misfits import HISTORY
from unitlens.training.checkpoints import (
    AGAIN,
    RECORD,
    WEIGHTS,
    CheckpointRecord,
    load_checkpoint,
    read_record,
    write_record,
    writing_network,
)
from unitlens.training.history import check_history, read_history, write_history
from unitlens.training.look_steps import LOOK, trained_epochs
from unitlens.training.network_origin import NetworkOrigin
from unitlens.training.probes import find_changed_output, probe_outputs
from unitlens.training.scoring import score

# Largest difference of losses that counts as rounding: on another device, they may be computed in
# lower precision.
RELATIVE, ABSOLUTE = 1e-3, 1e-5


class FinishedNetwork:
    """What the directory of a run holds, seen as the possible result of a training.

    Parameters
    ----------
    directory
        Directory of the run.
    spec
        The run.
    origin
        The origin of the network.
    train_set, test_set
        Both splits of the data set.
    device
        Device to compute on.
    """

    def __init__(
        self,
        directory: Path,
        spec: RunSpec,
        origin: NetworkOrigin,
        train_set: SplitDataset,
        test_set: SplitDataset,
        device: torch.device,
    ) -> None:
        self.directory = directory
        self._spec, self._origin, self._device = spec, origin, device
        self._train_set, self._test_set = train_set, test_set

    def find_difference(self, failed: str) -> str | None:
        """Return why the directory does not hold the result of the training; None where it does.

        Parameters
        ----------
        failed
            What is done with a failed training; ``skip`` takes its record for a result.
        """
        if not (self.directory / RECORD).exists():
            return "there is no such network yet"
        try:
            record = read_record(self.directory / RECORD)
            difference = self._origin.find_difference(record)
            if difference is not None:
                return f"{difference} has changed: it is trained again"
            if record.failed:
                return None if failed == "skip" else "its training failed: it is trained again"
            final = self._check_network(self.directory)
            check_history(self.directory, final)
            for epoch in kept_epochs(self._spec):
                self._check_kept(epoch, final)
        except ModelError as error:
            return f"it is trained again, for {error}"
        return None

    def _check_network(self, directory: Path) -> CheckpointRecord:
        """Raise ModelError where a network is damaged, or its code has become another one."""
        model, record = load_checkpoint(directory)
        if record.probes:
            changed = find_changed_output(model, self._test_set, record.probes)
            if changed is not None:
                raise ModelError(f"the network {directory} puts out other values: {changed}")
            return record
        # A record of unitlens before 0.3 tells no outputs, but losses.
        model.to(self._device)
        losses = (record.train_loss, record.test_loss)
        for split, stated in zip((self._train_set, self._test_set), losses, strict=True):
            now = score(model, split, device=self._device).loss
            if not math.isclose(now, stated, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
                raise ModelError(
                    f"the network {directory} has a loss of {now:.6g} now, but its record says "
                    f"{stated:.6g}; {AGAIN}"
                )
        return record

    def _check_kept(self, epoch: float, final: CheckpointRecord) -> None:
        directory = self.directory / look_folder(epoch)
        record = self._check_network(directory)
        difference = self._origin.find_difference(record)
        trained = trained_epochs(record.epoch, record.origin_parts)
        if difference is not None or trained != min(epoch, final.epoch):
            raise ModelError(
                f"the network {directory} is of another training or epoch ({epoch_text(trained)}); "
                f"{AGAIN}"
            )

    def refresh(self) -> None:
        """Write the records anew, so that they are newer than their inputs and of this version."""
        record = read_record(self.directory / RECORD)
        if record.failed:
            write_failure(self.directory, self._refreshed(record, self.directory))
            return
        for name in map(look_folder, kept_epochs(self._spec)):
            folder = self.directory / name
            write_record(folder, self._refreshed(read_record(folder / RECORD), folder))
        history = read_history(self.directory, record)
        record = self._refreshed(record, self.directory)
        write_history(self.directory, history, record)
        with writing_network(self.directory):
            (self.directory / WEIGHTS).touch()
        write_record(self.directory, record)

    def _refreshed(self, record: CheckpointRecord, directory: Path) -> CheckpointRecord:
        look = {name: text for name, text in record.origin_parts.items() if name == LOOK}
        update: dict[str, Any] = {
            "spec": self._spec,
            "origin": "",
            "origin_parts": self._origin.parts | look,
        }
        if not record.probes and not record.failed:
            update["probes"] = probe_outputs(load_checkpoint(directory)[0], self._test_set)
        return record.model_copy(update=update)


def write_failure(directory: Path, record: CheckpointRecord) -> None:
    """Write the reason of a failed training in place of the weights and of the history.

    Parameters
    ----------
    directory
        Directory of the run. Kept epochs that it holds of an earlier training are removed.
    record
        Record of the network, with the reason.
    """
    text = f"left out: {record.failed}\n".encode()
    with writing_network(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for epoch in kept_epochs(record.spec):
            for name in (RECORD, WEIGHTS):
                (directory / look_folder(epoch) / name).unlink(missing_ok=True)
        for name in (WEIGHTS, HISTORY):
            write_hashed(directory / name, text)
    write_record(directory, record)


def kept_epochs(spec: RunSpec) -> tuple[float, ...]:
    """Return the epochs after which the network of a run is kept, ascending."""
    return spec.training.checkpoints if spec.training else ()
