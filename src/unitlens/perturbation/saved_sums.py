"""Sums of an unfinished call on disk, from which the call goes on when it is begun again."""

import io
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from unitlens.errors import SavedSumsError, first_line
from unitlens.hashed_files import read_hashed, read_trailer, write_hashed
from unitlens.perturbation.call_identity import CallIdentity
from unitlens.perturbation.partial_calls import KeptSums
from unitlens.perturbation.session import Batch, Session

logger = logging.getLogger("unitlens")

# Sums are saved at the end of the first batch after so long, or later where saving would take more
# than a share of the time.
SECONDS_BETWEEN_SAVES = 60.0
SAVING_SHARE = 0.02
_FORMAT = 1
_REMEDY = "delete the file, so that the call begins anew, or give another path"
_WHAT = {
    "format": "of another version of unitlens",
    "function": "of another function",
    "part": "of another part",
    "network_hash": "of another network",
    "settings_hash": "of other settings",
    "code_hash": "of another version of the code",
    "arithmetic": "of other arithmetic",
}


class Summed(Protocol):
    """What is summed over batches.

    Attributes
    ----------
    summed
        Names of the attributes that hold the sums: tensors, arrays, numbers, None or lists of
        texts.
    """

    summed: ClassVar[tuple[str, ...]]


def summed_batches(
    session: Session,
    sums: Sequence[Summed],
    description: str,
    *,
    at_most: int | None = None,
    kept_bytes: int = 0,
) -> Iterator[Batch]:
    """Read the scored samples in batches, which the caller adds to sums, and save the sums.

    Where a file of saved sums is there, the sums become those of the file, and only batches that
    they lack are yielded. The file is removed at the end.

    Parameters
    ----------
    session
        The session.
    sums
        The sums, to which the caller adds a batch before it takes the next one.
    description, at_most, kept_bytes
        As :meth:`~unitlens.perturbation.session.Session.batches` takes them.

    Raises
    ------
    SavedSumsError
        Where the file is damaged, or its sums are not those of this call.
    """
    identity = session.identity
    batches = session.batches(description, at_most=at_most, kept_bytes=kept_bytes)
    if identity is None:
        yield from batches
        return
    identity.set_batch_size(session.batch_size(at_most, kept_bytes))
    path = identity.call.path
    saved = None if path is None else _SavedSums(path, identity, (*sums, session.doubts))
    done = 0 if saved is None else saved.load()
    for batch in batches:
        identity.see(batch.inputs, batch.targets)
        end = batch.start + len(batch.inputs)
        if end > done:
            yield batch
            if saved is not None and end < session.samples:
                saved.save_where_due(end)
        elif end == done and saved is not None:
            saved.check_data()
    if saved is not None:
        saved.end(session.samples)


class _SavedSums:
    """The file of the sums of a call.

    Parameters
    ----------
    path
        The file.
    identity
        Identity of the call.
    sums
        The sums, whose attributes are saved and restored.
    """

    def __init__(self, path: Path, identity: CallIdentity, sums: Sequence[Summed]) -> None:
        self.path = path
        self._identity, self._sums = identity, sums
        self._due = time.monotonic() + SECONDS_BETWEEN_SAVES
        self._data_hash = ""

    def load(self) -> int:
        """Restore the sums, and return the number of samples that they hold; 0 without a file."""
        if not self.path.exists():
            return 0
        content = read_hashed(self.path, error=SavedSumsError, remedy=_REMEDY)
        trailer = read_trailer(self.path)
        stated = {} if trailer is None else trailer.provenance
        for key, value in self._stated().items():
            if stated.get(key) != value:
                of = f" (they are of {stated[key]}, not of {value})" if key == "arithmetic" else ""
                raise SavedSumsError(
                    f"checkpoint {self.path} holds sums {_WHAT[key]} than this call{of}; {_REMEDY}"
                )
        self._data_hash = str(stated["data_hash"])
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for number, (of_batches, plain) in enumerate(
                zip(self._sums, stated["plain"], strict=True)
            ):
                for name in of_batches.summed:
                    _restore(of_batches, name, arrays.get(f"{number}{name}"), plain.get(name))
        done = int(stated["samples_done"])
        logger.info("%s: goes on after %d samples", self.path, done)
        return done

    def check_data(self) -> None:
        """Raise SavedSumsError where the samples of the sums were others than those just read."""
        if self._identity.data_hash != self._data_hash:
            raise SavedSumsError(
                f"checkpoint {self.path} holds sums over other samples than the data set gives "
                f"now; {_REMEDY}"
            )

    def save_where_due(self, done: int) -> None:
        """Save the sums if the last save is long enough ago; a disk that refuses is told of."""
        begun = time.monotonic()
        if begun < self._due:
            return
        try:
            self._save(done)
        except OSError as error:
            logger.warning("%s: the sums cannot be saved (%s)", self.path, first_line(error))
        taken = time.monotonic() - begun
        self._due = begun + taken + max(SECONDS_BETWEEN_SAVES, taken / SAVING_SHARE)

    def end(self, samples: int) -> None:
        """Remove the file, or leave the sums over all samples where the call is one of several."""
        if isinstance(self._identity.call.checkpoint, KeptSums):
            self._save(samples)
        else:
            self.path.unlink(missing_ok=True)

    def _save(self, done: int) -> None:
        arrays: dict[str, Any] = {}
        plain: list[dict[str, Any]] = []
        for number, of_batches in enumerate(self._sums):
            plain.append({})
            for name in of_batches.summed:
                value = getattr(of_batches, name)
                if isinstance(value, Tensor | np.ndarray):
                    arrays[f"{number}{name}"] = _numbers(value)
                else:
                    plain[-1][name] = value
        content = io.BytesIO()
        np.savez(content, **arrays)
        stated = {
            **self._stated(),
            "data_hash": self._identity.data_hash,
            "samples_done": done,
            "plain": plain,
        }
        write_hashed(self.path, content.getvalue(), stated)

    def _stated(self) -> dict[str, Any]:
        """Return what must be equal for the call to go on."""
        part = self._identity.call.part
        return {
            "format": _FORMAT,
            "function": self._identity.call.function,
            "part": None if part is None else [*map(int, part)],
            **self._identity.before_data(),
            "arithmetic": self._identity.arithmetic,
        }


def _numbers(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value


def _restore(sums: Summed, name: str, array: Any, plain: Any) -> None:
    now = getattr(sums, name)
    if isinstance(now, Tensor):
        setattr(sums, name, torch.from_numpy(array).to(now.device))
    elif now is None and array is not None:  # tensors that are made with the first batch
        setattr(sums, name, torch.from_numpy(array))
    else:
        setattr(sums, name, plain if array is None else array)
