"""Parts of a recording: the shards of each part, and the files of a part beside the store.

Beside a store ``x.zarr`` that is recorded in parts lie, for each part that has begun, a lock
``x.part-2-of-4.lock`` and, until the parts are merged, a journal ``x.part-2-of-4.journal``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unitlens.errors import ArgumentError
from unitlens.store.backend.files import names_in
from unitlens.store.format.layout import StoredArray, journal_path, lock_path


@dataclass(frozen=True)
class Part:
    """A part of a recording.

    Attributes
    ----------
    number
        Number of the part, from 1.
    of
        Number of parts; the first part of one is the whole.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.of}"

    def shards(self, array: StoredArray) -> list[int]:
        """Return the shards of an array that belong to this part: those whose middle lies in it.

        Each shard belongs to one part, and a part spans nearly the same samples in all arrays.
        """
        count = array.shard_count
        return [s for s in range(count) if (2 * s + 1) * self.of // (2 * count) == self.number - 1]

    def journal(self, path: Path) -> Path:
        """Return the path of the part's journal of the store at `path`."""
        return journal_path(path) if self == WHOLE else path.with_suffix(self._suffix("journal"))

    def lock(self, path: Path) -> Path:
        """Return the path of the part's lock of the store at `path`."""
        return lock_path(path) if self == WHOLE else path.with_suffix(self._suffix("lock"))

    def _suffix(self, kind: str) -> str:
        return f".part-{self.number}-of-{self.of}.{kind}"


WHOLE = Part(1, 1)


def make_part(part: tuple[int, int] | None) -> Part:
    """Return a part from its number and the number of parts; the whole for None.

    Raises
    ------
    ArgumentError
        Where there is no such part.
    """
    if part is None:
        return WHOLE
    number, of = part
    if not 1 <= number <= of:
        raise ArgumentError(
            f"part is ({number}, {of}), but must be (k, K) with k from 1 to K, such as (1, 4) for "
            "the first of four"
        )
    return Part(number, of)


def find_parts(path: Path, kind: Literal["journal", "lock"]) -> list[Part]:
    """Return the parts of the store at `path` that have a file of this kind, in their order."""
    pattern = re.compile(rf"{re.escape(path.stem)}\.part-(\d+)-of-(\d+)\.{kind}")
    matches = [pattern.fullmatch(name) for name in names_in(path.parent)]
    return sorted(
        (Part(int(match[1]), int(match[2])) for match in matches if match),
        key=lambda part: (part.of, part.number),
    )
