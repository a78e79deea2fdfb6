"""Batches whose results are summed: the steps of a batch that sums lack run, and sums are saved."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from unitlens.errors import first_line
from unitlens.perturbation.call_identity import CallIdentity
from unitlens.perturbation.partial_calls import KeptSums
from unitlens.perturbation.saved_sums import Progress, SavedSums, Summed
from unitlens.perturbation.session import Batch, Session

logger = logging.getLogger("unitlens")

# Sums are saved at the end of the first step after so long, or later where saving would take more
# than a share of the time.
SECONDS_BETWEEN_SAVES = 60.0
SAVING_SHARE = 0.02


def summed_batches(
    session: Session,
    sums: Sequence[Summed],
    description: str,
    *,
    at_most: int | None = None,
    kept_bytes: int = 0,
) -> Iterator[Batch]:
    """Read the scored samples in batches, which the caller adds to sums, and save the sums.

    Parameters
    ----------
    session
        The session.
    sums
        The sums, as :func:`going_on` takes them.
    description, at_most, kept_bytes
        As :meth:`~unitlens.perturbation.session.Session.batches` takes them.

    Raises
    ------
    SavedSumsError
        Where the file is damaged, or its sums are not those of this call.
    """
    batches = session.batches(description, at_most=at_most, kept_bytes=kept_bytes)
    identity = identity_for(session, at_most=at_most, kept_bytes=kept_bytes)
    return going_on(batches, identity, (*sums, session.doubts))


def identity_for(session: Session, *, at_most: int | None, kept_bytes: int) -> CallIdentity | None:
    """Return the identity of the call, which knows the batches; None where there is none.

    Parameters
    ----------
    session
        The session.
    at_most, kept_bytes
        As :meth:`~unitlens.perturbation.session.Session.batches` takes them.
    """
    identity = session.identity
    if identity is not None:
        size = session.batch_size(at_most, kept_bytes)
        identity.note_arithmetic(size, session.memory_bytes, session.device)
    return identity


def going_on(
    batches: Iterable[Batch], identity: CallIdentity | None, sums: Sequence[Summed]
) -> Iterator[Batch]:
    """Yield the batches that sums lack, and save the sums.

    Where a file of saved sums is there, the sums become those of the file. The file is removed at
    the end.

    Parameters
    ----------
    batches
        The batches.
    identity
        Identity of the call; None where no sums are saved.
    sums
        The sums. The caller first scores the unperturbed network on a batch, and adds the scores.
        Then the caller runs the steps of the batch for which
        :attr:`~unitlens.perturbation.session.Batch.is_due` returns true, and adds what one step
        yields before the function is asked for the next step.

    Raises
    ------
    SavedSumsError
        Where the file is damaged, or its sums are not those of this call.
    """
    path = None if identity is None else identity.call.path
    steps = None
    if identity is not None and path is not None:
        steps = _Steps(SavedSums(path, identity, sums))
    for batch in batches:
        if identity is not None:
            identity.see(batch.inputs, batch.targets)
        if steps is None:
            yield batch
        elif steps.begin(len(batch.positions)):
            yield replace(batch, is_due=steps.is_due)
            steps.finish()
    if steps is not None and identity is not None:
        steps.end(kept=isinstance(identity.call.checkpoint, KeptSums))


class _Steps:
    """The steps of all batches of a call: those that the saved sums hold are left out.

    Parameters
    ----------
    file
        The file of the sums, from which the sums are restored.
    """

    def __init__(self, file: SavedSums) -> None:
        self._file, self._held = file, file.load()
        self._begun = Progress()  # how far the call is, with steps that are left out
        self._size = self._left_out = 0  # samples of the batch, and its steps that are left out
        self._next_save = time.monotonic() + SECONDS_BETWEEN_SAVES

    def begin(self, samples: int) -> bool:
        """Begin a batch of some samples, and tell whether the sums lack any of it."""
        begun, held, self._size = self._begun.samples, self._held, samples
        is_next = begun == held.samples
        self._left_out = held.steps if is_next else 0
        if self._left_out or (begun + samples == held.samples and not held.steps):
            self._file.check_data()
        if begun >= held.samples:
            return True
        self._begun = Progress(begun + samples)
        if self._begun.samples > held.samples:
            self._file.check_progress(self._begun)
        return False

    def is_due(self, rows: int) -> bool:
        """Tell whether the next step of the batch runs. All results of earlier steps are added."""
        before = self._begun
        if before.steps > self._left_out:
            self._save_where_due()
        self._begun = Progress(before.samples, before.steps + 1, before.rows + rows)
        if self._begun.steps > self._left_out:
            return True
        if self._begun.steps == self._left_out:
            # Of this batch, the scores of the unperturbed network were just added a second time.
            self._file.check_progress(self._begun)
            self._file.restore()
        return False

    def finish(self) -> None:
        """Finish the batch, all of whose results are added."""
        if self._begun.steps < self._left_out:
            self._file.check_progress(self._begun)
        self._begun = Progress(self._begun.samples + self._size)
        self._save_where_due()

    def end(self, *, kept: bool) -> None:
        """Remove the file, or leave the sums over all samples where the call is one of several."""
        if not kept:
            self._file.path.unlink(missing_ok=True)
        elif self._begun != self._held:
            self._save()

    def _save(self) -> None:
        """Save the sums; a disk that refuses is told of."""
        try:
            self._file.save(self._begun)
        except OSError as error:
            logger.warning("%s: the sums cannot be saved (%s)", self._file.path, first_line(error))

    def _save_where_due(self) -> None:
        """Save the sums if the last save is long enough ago."""
        begun = time.monotonic()
        if begun < self._next_save:
            return
        self._save()
        taken = time.monotonic() - begun
        self._next_save = begun + taken + max(SECONDS_BETWEEN_SAVES, taken / SAVING_SHARE)
