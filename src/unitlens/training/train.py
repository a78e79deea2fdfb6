"""Training of a run, from its specification to its checkpoint; resumable at any moment."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from unitlens.config.looks import epoch_text, look_folder
from unitlens.config.networks import ConvNetSpec, RunSpec, TrainingSpec
from unitlens.data.prepare import load_dataset
from unitlens.data.split import SplitDataset
from unitlens.errors import ModelError
from unitlens.model.devices import describe_device
from unitlens.model.precision import forward_precision, repeatable_convolutions
from unitlens.model.restore import generator_states, isolated_generators
from unitlens.model.weights import weights_hash
from unitlens.progress import track
from unitlens.store.backend.lock import hold_lock
from unitlens.training.checkpoints import (
    CheckpointRecord,
    copy_checkpoint,
    save_checkpoint,
    versions,
    writing_network,
)
from unitlens.training.epochs import Interruption, make_optimizer, run_epoch
from unitlens.training.finished_network import (
    FinishedNetwork,
    kept_epochs,
    write_failure,
)
from unitlens.training.former_names import adopt_former_folder, remove_former_folder
from unitlens.training.history import Scores, write_history
from unitlens.training.look_steps import LOOK, count_steps, find_crowded_look, steps_of_looks
from unitlens.training.models import build_model
from unitlens.training.network_origin import NetworkOrigin, hash_texts
from unitlens.training.probes import probe_outputs
from unitlens.training.resume_state import ResumeFolder, TrainingProgress
from unitlens.training.scoring import SplitScore, score

logger = logging.getLogger("unitlens")

NO_SCORE = SplitScore(math.nan, math.nan)  # of a training that failed


def train(
    spec: RunSpec,
    dataset_directory: Path,
    directory: Path,
    *,
    device: torch.device | str = "cpu",
    code: str = "",
    user_code: str = "",
    failed: Literal["stop", "skip"] = "stop",
) -> None:
    """Train a network, and write its checkpoint, its history and its kept epochs.

    The state of the training is written under ``directory/resume`` every few seconds. A killed
    training resumes from it, and ends with the same weights, bit for bit, as an undisturbed
    training with the same number of threads on the same machine. A network that the directory
    holds already is not trained again if it was made from the same specification, data, first
    weights and code.

    Parameters
    ----------
    spec
        The run. Where its training is null, the network is scored with the weights of its file.
    dataset_directory
        Directory of the prepared data set.
    directory
        Directory of the run: ``checkpoint.safetensors`` and ``checkpoint.json``, ``history.nc``,
        and ``epoch-0005`` for a kept epoch, ``epoch-0000.25`` for one kept inside an epoch. A kept
        epoch after an early stop holds the network at the stop.
    device
        Device to compute on.
    code
        Digest of the code that trains.
    user_code
        Digest of the user's code that builds the network.
    failed
        What is done where the loss is not finite: ``stop`` raises, ``skip`` writes the reason as
        the record of the network.

    Raises
    ------
    ModelError
        Where the network cannot be built, does not fit the data, its loss is not finite, it cannot
        be written, or two kept epochs fall on one batch.
    DatasetError
        Where the data set is not prepared, or damaged.
    StoreError
        Where another process trains a network in the directory.
    """
    directory = Path(directory)
    with hold_lock(directory / ".train.lock", f"the network {directory}"):
        run = TrainingRun(
            spec,
            Path(dataset_directory),
            directory,
            torch.device(device),
            code=code,
            user_code=user_code,
        )
        former = adopt_former_folder(directory, run.origin)
        difference = run.finished.find_difference(failed)
        if difference is None:
            logger.info("%s holds this network already, which is not trained again", directory)
            run.finished.refresh()
            run.resume.remove()
            if former is not None:
                remove_former_folder(former)
            return
        logger.info("%s: %s", directory, difference)
        try:
            with forward_precision(None, device), repeatable_convolutions():
                run.complete()
        except DivergenceError as error:
            if failed == "stop":
                raise ModelError(
                    f"{error}, or set failed_runs to skip, which leaves such networks out"
                ) from None
            run.give_up(str(error))


class DivergenceError(ModelError):
    """The loss of a training is not finite."""


class TrainingRun:
    """The training of one network.

    Parameters
    ----------
    spec
        The run.
    dataset_directory
        Directory of the prepared data set.
    directory
        Directory of the run.
    device
        Device to compute on.
    code
        Digest of the code that trains.
    user_code
        Digest of the user's code that builds the network.

    Attributes
    ----------
    origin
        The origin of the network.
    finished
        What the directory holds already.
    resume
        The state to resume from.
    """

    def __init__(
        self,
        spec: RunSpec,
        dataset_directory: Path,
        directory: Path,
        device: torch.device,
        *,
        code: str = "",
        user_code: str = "",
    ) -> None:
        corruption = spec.dataset.corruption
        self.spec, self.directory, self.device = spec, directory, device
        self.train_set = load_dataset(
            dataset_directory, "train", corruption=corruption, seed=spec.seed
        )
        self.test_set = load_dataset(dataset_directory, "test")
        batch_size = spec.training.batch_size if spec.training else 1
        self._steps = count_steps(len(self.train_set), batch_size)
        crowded = find_crowded_look(kept_epochs(spec), self._steps)
        if crowded is not None:
            raise ModelError(f"training.checkpoints: {crowded}")
        model = build_model(
            spec.model,
            input_shape=self.train_set.input_shape,
            classes=len(self.train_set.classes),
            seed=spec.seed,
        )
        self.origin = NetworkOrigin(
            spec,
            self.train_set.identity,
            self.test_set.identity,
            first_weights=weights_hash(model),
            code=code,
            user_code=user_code,
        )
        self.finished = FinishedNetwork(
            directory, spec, self.origin, self.train_set, self.test_set, device
        )
        self.resume = ResumeFolder(directory, self._identity())
        # Convolutions are faster with channels last. A user's network may rely on the default.
        convnet = isinstance(spec.model, ConvNetSpec)
        layout = torch.channels_last if convnet else torch.preserve_format
        self.model: nn.Module = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]

    def give_up(self, reason: str) -> None:
        """Write why the training failed as the record of the network."""
        logger.warning("%s is left out, for its training failed: %s", self.directory, reason)
        record = self._record(0, (NO_SCORE, NO_SCORE))
        failed = {"failed": reason, "weights_hash": "", "probes": ()}
        write_failure(self.directory, record.model_copy(update=failed))
        self.resume.remove()

    def complete(self) -> None:
        """Train the network and write its files; then remove the state to resume from."""
        with isolated_generators(self.device):
            if self.spec.training is None:
                progress = TrainingProgress([self._scores(0)])
            else:
                progress = self._fit(self.spec.training)
        with writing_network(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        self._write_kept_epochs(progress)
        record = self._record(progress.epoch, progress.history[-1])
        write_history(self.directory, progress.history, record)
        save_checkpoint(self.directory, self.model, record)
        self.resume.remove()
        train_score, test_score = progress.history[-1]
        logger.info(
            "%d epochs: train loss %.4g, accuracy %.4f; test loss %.4g, accuracy %.4f",
            progress.epoch,
            train_score.loss,
            train_score.accuracy,
            test_score.loss,
            test_score.accuracy,
        )

    def _fit(self, training: TrainingSpec) -> TrainingProgress:
        optimizer = make_optimizer(self.model, training)
        progress = self.resume.load(self.model, optimizer)
        if progress is None:
            progress = TrainingProgress([self._scores(0)])
            self._keep_epoch(progress)
        else:
            logger.info("resuming after %d epochs and %d steps", progress.epoch, progress.step)
        for epoch in track(self._epochs(training, progress), "epochs", total=training.epochs):
            self._train_epoch(training, optimizer, progress)
            progress.step, progress.generators = 0, []
            progress.history.append(self._scores(epoch + 1))
            self._keep_epoch(progress)
            if self.resume.is_due():
                self.resume.save(self.model, optimizer, progress)
        return progress

    def _epochs(self, training: TrainingSpec, progress: TrainingProgress) -> Iterator[int]:
        while progress.epoch < training.epochs and not meets_stop_rule(training, progress):
            yield progress.epoch

    def _train_epoch(
        self, training: TrainingSpec, optimizer: torch.optim.Optimizer, progress: TrainingProgress
    ) -> None:
        """Train for one epoch, or for what is left of it, and keep the network at the looks.

        The epoch is interrupted at each look as a kill interrupts it: what is computed for the look
        leaves no trace in what follows.
        """
        looks = steps_of_looks(kept_epochs(self.spec), progress.epoch, self._steps)
        for step in sorted(looks):
            if step > progress.step:
                self._train_steps(training, optimizer, progress, last_step=step)
                progress.step, progress.generators = step, generator_states(self.device)
            if step == progress.step:
                self._keep_look(progress.epoch, looks[step])
        self._train_steps(training, optimizer, progress)

    def _train_steps(
        self,
        training: TrainingSpec,
        optimizer: torch.optim.Optimizer,
        progress: TrainingProgress,
        last_step: int | None = None,
    ) -> None:
        def save_if_due(step: int) -> None:
            if self.resume.is_due():
                progress.step, progress.generators = step, generator_states(self.device)
                self.resume.save(self.model, optimizer, progress)

        interrupted = Interruption(progress.step, progress.generators)
        run_epoch(
            self.model,
            optimizer,
            self.train_set,
            training,
            seed=self.spec.seed,
            epoch=progress.epoch,
            device=self.device,
            interruption=interrupted if progress.step else None,
            last_step=last_step,
            after_step=save_if_due,
        )

    def _scores(self, epoch: float) -> Scores:
        """Score the network on the training and on the test set."""
        scores = tuple(self._score(split) for split in (self.train_set, self.test_set))
        if not all(math.isfinite(split.loss) for split in scores):
            remedy = "lower training.learning_rate" if epoch else "check the weights and the inputs"
            raise DivergenceError(
                f"the loss after epoch {epoch_text(epoch)} is {scores[0].loss} on the training set "
                f"and {scores[1].loss} on the test set, but must be finite; {remedy}"
            )
        return scores[0], scores[1]

    def _score(self, split: SplitDataset) -> SplitScore:
        return score(self.model, split, device=self.device)

    def _keep_epoch(self, progress: TrainingProgress) -> None:
        """Write the network of a kept epoch beside the state.

        It is copied to the directory of the run at the end of the training, because Snakemake
        removes the outputs of a job when the job starts.
        """
        if progress.epoch in kept_epochs(self.spec):
            folder = self.resume.path / look_folder(progress.epoch)
            record = self._record(progress.epoch, progress.history[-1])
            save_checkpoint(folder, self.model, record)

    def _keep_look(self, epoch: int, look: float) -> None:
        """Write the network of a look inside an epoch, as :meth:`_keep_epoch` does."""
        record = self._record(epoch, self._scores(look))
        parts = record.origin_parts | {LOOK: epoch_text(look)}
        record = record.model_copy(update={"origin_parts": parts})
        save_checkpoint(self.resume.path / look_folder(look), self.model, record)

    def _write_kept_epochs(self, progress: TrainingProgress) -> None:
        for epoch in kept_epochs(self.spec):
            folder = self.directory / look_folder(epoch)
            if epoch > progress.epoch:
                record = self._record(progress.epoch, progress.history[-1])
                save_checkpoint(folder, self.model, record)
            else:
                copy_checkpoint(self.resume.path / look_folder(epoch), folder)

    def _record(self, epoch: int, scores: Scores) -> CheckpointRecord:
        """Return the record of the network after some finished epochs, with these scores."""
        train_score, test_score = scores
        return CheckpointRecord(
            spec=self.spec,
            epoch=epoch,
            train_loss=train_score.loss,
            train_accuracy=train_score.accuracy,
            test_loss=test_score.loss,
            test_accuracy=test_score.accuracy,
            input_shape=self.train_set.input_shape,
            classes=len(self.train_set.classes),
            dataset_identity=self.train_set.identity,
            weights_hash=weights_hash(self.model),
            versions={**versions(), "device": describe_device(self.device)},
            origin_parts=self.origin.parts,
            probes=probe_outputs(self.model, self.test_set),
        )

    def _identity(self) -> str:
        """Return the hash over everything that determines the weights, bit for bit, and the epochs.

        The state of a training with another hash is not resumed from.
        """
        parts, kept = self.origin.parts.values(), str(kept_epochs(self.spec))
        return hash_texts(*parts, kept, self.device.type, str(torch.__version__))


def meets_stop_rule(training: TrainingSpec, progress: TrainingProgress) -> bool:
    """Tell whether the train accuracy was high enough for the given number of epochs in a row."""
    if training.stop is None or progress.epoch < training.stop.epochs:
        return False
    last = progress.history[1:][-training.stop.epochs :]
    return all(train.accuracy >= training.stop.train_accuracy for train, _ in last)
