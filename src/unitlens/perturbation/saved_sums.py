"""Sums of an unfinished call on disk, from which the call goes on when it is begun again."""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from unitlens.errors import SavedSumsError
from unitlens.hashed_files import read_hashed, read_trailer, replacing_hashed
from unitlens.model.device_memory import MemoryLimit
from unitlens.perturbation.call_identity import CallIdentity
from unitlens.perturbation.partial_calls import Checkpoint, saved_files

logger = logging.getLogger("unitlens")

_FORMAT = 2
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
        Names of the attributes that hold the sums: tensors, arrays, numbers, texts or lists of
        texts.
    """

    summed: ClassVar[tuple[str, ...]]


@dataclass(frozen=True)
class Progress:
    """How far sums have come.

    Attributes
    ----------
    samples
        Number of samples of the batches that the sums hold whole.
    steps
        Number of steps of the next batch that the sums hold. Where there is any, the sums also hold
        the scores of the unperturbed network on this batch.
    rows
        Number of rows of these steps.
    """

    samples: int = 0
    steps: int = 0
    rows: int = 0


class SavedSums:
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
        self._content, self._stated = b"", dict[str, Any]()

    def load(self) -> Progress:
        """Restore the sums, and return how far they are; without a file they stay as they are.

        Raises
        ------
        SavedSumsError
            Where the file is damaged, or holds the sums of another call.
        """
        if not self.path.exists():
            return Progress()
        self._content = read_hashed(self.path, error=SavedSumsError, remedy=_REMEDY)
        trailer = read_trailer(self.path)
        self._stated = {} if trailer is None else trailer.provenance
        for key, value in self._of_call().items():
            if (stated := self._stated.get(key)) != value:
                of = f" (they are of {stated}, not of {value})" if key == "arithmetic" else ""
                raise self._refusal(f"sums {_WHAT[key]} than this call{of}")
        self.restore()
        self._identity.add_devices(self._stated.get("devices", ()))
        progress = Progress(**self._stated["progress"])
        logger.info(
            "%s: goes on after %d samples and %d steps of the next batch",
            self.path, progress.samples, progress.steps,
        )  # fmt: skip
        return progress

    def restore(self) -> None:
        """Set the sums to those of the file that was loaded."""
        with np.load(io.BytesIO(self._content), allow_pickle=False) as arrays:
            for number, (sums, plain) in enumerate(
                zip(self._sums, self._stated["plain"], strict=True)
            ):
                for name in sums.summed:
                    _restore(sums, name, arrays.get(f"{number}{name}"), plain)

    def check_data(self) -> None:
        """Raise SavedSumsError where the samples of the sums were others than those just read."""
        if self._identity.data_hash != self._stated["data_hash"]:
            raise self._refusal("sums over other samples than the data set gives now")

    def check_progress(self, now: Progress) -> None:
        """Raise SavedSumsError where the sums hold other batches and steps than just left out."""
        if self._stated["progress"] != asdict(now):
            raise self._refusal("sums of other steps than this call makes")

    def save(self, progress: Progress) -> None:
        """Save the sums, and how far they are; the file that was loaded is not needed any more."""
        self._content = b""
        arrays: dict[str, Any] = {}
        plain: list[dict[str, Any]] = []
        for number, sums in enumerate(self._sums):
            plain.append({})
            for name in sums.summed:
                value = getattr(sums, name)
                if isinstance(value, Tensor | np.ndarray):
                    arrays[f"{number}{name}"] = _numbers(value)
                else:
                    plain[-1][name] = value
        data = {
            "data_hash": self._identity.data_hash,
            "progress": asdict(progress),
            "memory_bytes": self._identity.memory_bytes,
            "devices": self._identity.devices,
        }
        stated = {**self._of_call(), **data, "plain": plain}
        with replacing_hashed(self.path, stated) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)

    def _of_call(self) -> dict[str, Any]:
        """Return what must be equal for the call to go on."""
        part = self._identity.call.part
        return {
            "format": _FORMAT,
            "function": self._identity.call.function,
            "part": None if part is None else [*map(int, part)],
            **self._identity.before_data(),
            "arithmetic": self._identity.arithmetic,
        }

    def _refusal(self, what: str) -> SavedSumsError:
        return SavedSumsError(f"checkpoint {self.path} holds {what}; {_REMEDY}")


def saved_limit(checkpoint: Checkpoint, limit: float, memory_gb: MemoryLimit) -> float:
    """Return the memory limit with which a call goes on from saved sums, in bytes.

    Parameters
    ----------
    checkpoint
        Where the call saves its sums.
    limit
        Memory limit of the call, in bytes.
    memory_gb
        The limit as it was given.

    Returns
    -------
    The limit of the saved sums, on which their batches depend, where it is smaller or none was
    given (``"auto"``); else `limit`.
    """
    for file in saved_files(checkpoint):
        trailer = read_trailer(file)
        saved = None if trailer is None else trailer.provenance.get("memory_bytes")
        if isinstance(saved, int | float) and saved > 0 and (memory_gb == "auto" or saved < limit):
            return float(saved)
    return limit


def _numbers(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value


def _restore(sums: Summed, name: str, array: Any, plain: Mapping[str, Any]) -> None:
    now = getattr(sums, name)
    if isinstance(now, Tensor):
        setattr(sums, name, torch.from_numpy(array).to(now.device))
    else:
        setattr(sums, name, plain[name] if array is None else array)
