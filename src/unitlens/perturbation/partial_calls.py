"""Parts of a call: every K-th row of a table, so that several jobs share the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unitlens.errors import ArgumentError, shown

Part = tuple[int, int] | None
PILOT = "pilot"  # work that comes before, with sums of its own
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KeptSums:
    """A file of sums that a finished call leaves, for a caller that makes several calls in turn."""

    path: Path


Checkpoint = str | Path | KeptSums | None


@dataclass(frozen=True)
class PartialCall:
    """What of a call is computed here, and where its sums are saved.

    Attributes
    ----------
    function
        Name of the function, which is also that of its module.
    part
        Number of the part from 0, and number of parts; None for the whole.
    checkpoint
        File of the sums of an unfinished call; None where they are not saved.
    arguments
        The function's own arguments, beside those that all perturbations share.
    """

    function: str
    part: Part = None
    checkpoint: Checkpoint = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """Path of the file of the sums; None where there is none."""
        return _path_of(self.checkpoint)

    def check(self) -> None:
        """Raise ArgumentError where the part or the file breaks a rule."""
        _check_part(self.part)
        path = self.path
        if path is None:
            return
        if path.is_dir() or not path.parent.is_dir():
            what = "is a folder" if path.is_dir() else f"lies in no folder ({path.parent})"
            raise ArgumentError(
                f"checkpoint is {shown(str(path))}, which {what}, but must be a file in a folder "
                "that exists; make the folder, or give another path"
            )


def saved_files(checkpoint: Checkpoint) -> list[Path]:
    """Return the files of sums that a call has saved, that of its last work first.

    Parameters
    ----------
    checkpoint
        Where the call saves its sums. Work that comes before has a file beside it.
    """
    path = _path_of(checkpoint)
    if path is None:
        return []
    beside = [path.with_name(f"{path.name}.{PILOT}")]
    return [file for file in (path, *beside) if file.is_file()]


def _path_of(checkpoint: Checkpoint) -> Path | None:
    path = checkpoint.path if isinstance(checkpoint, KeptSums) else checkpoint
    return None if path is None else Path(path)


def _check_part(part: Any) -> None:
    if part is None:
        return
    numbers = tuple(part) if isinstance(part, tuple | list) else ()
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers)
    if len(numbers) != 2 or not whole or not 0 <= numbers[0] < numbers[1]:
        raise ArgumentError(
            f"part is {shown(part)}, but must be two whole numbers (k, K), with k from 0 to K - 1, "
            "for part k of K; give such as (0, 4)"
        )


def rows_of_part(block_of: npt.ArrayLike, part: Part) -> Ints:
    """Return the rows of a part: of each block every K-th row, from row k of the block.

    Parameters
    ----------
    block_of
        Block of each row, such as its layer; rows of one block stand together, (rows,).
    part
        Number of the part from 0, and number of parts; None for the whole.

    Examples
    --------
    >>> rows_of_part(["a", "a", "a", "b", "b"], (1, 2)).tolist()
    [1, 4]
    """
    blocks = np.asarray(block_of)
    rows = np.arange(len(blocks))
    if part is None or not len(blocks):
        return rows
    begins = np.r_[True, blocks[1:] != blocks[:-1]]
    first = np.maximum.accumulate(np.where(begins, rows, 0))
    number, parts = part
    own: Ints = rows[(rows - first) % parts == number]
    return own


def share(count: int, part: Part, what: str) -> range:
    """Return the numbers of a part of one block, of which it must have one at least.

    Parameters
    ----------
    count
        Number of all.
    part
        Number of the part from 0, and number of parts; None for the whole.
    what
        What is shared, in the plural, for messages.

    Raises
    ------
    ArgumentError
        Where there are fewer than parts.
    """
    number, parts = part or (0, 1)
    if parts > count:
        raise ArgumentError(
            f"part is {part}, but there are {count} {what}, of which each part must have one; give "
            f"at most {count} parts"
        )
    return range(number, count, parts)
