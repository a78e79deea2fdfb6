"""Looks: the epochs, and the parts of epochs, after which the network of a training is kept."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PositiveFloat,
    Tag,
    model_validator,
)

from unitlens.config.base import Strict, refuse_bool

DECIMALS = 6  # of an epoch
MOST_LOOKS = 1000  # of a series: each is a network on the disk


class LookSeries(Strict):
    """Looks at even distances: after each `every` epochs, the last at `until` or just before."""

    every: PositiveFloat = Field(description="epochs from one kept network to the next, as 0.25")
    until: PositiveFloat = Field(description="epoch after which no network is kept")

    @model_validator(mode="after")
    def _few(self) -> "LookSeries":
        if self._count < 1:
            raise ValueError(
                f"until ({self.until:g}) must not lie before the first kept network, which is that "
                f"after {self.every:g} epochs (every); raise until, or lower every"
            )
        if self._count > MOST_LOOKS:
            raise ValueError(
                f"every = {self.every:g} and until = {self.until:g} ask for {self._count:,} kept "
                f"networks, but a series has at most {MOST_LOOKS:,}; raise every, or lower until"
            )
        return self

    @property
    def _count(self) -> int:
        # A quotient such as .3 / .1 = 2.9999999999999996 is 3.
        return math.floor(self.until / self.every * (1 + 1e-9))

    @property
    def epochs(self) -> tuple[float, ...]:
        """The epochs of the looks, ascending."""
        return tuple(number * self.every for number in range(1, self._count + 1))


def _whole_or_part(epoch: float) -> float:
    """Return an epoch as an integer where it is whole, else to six decimals."""
    rounded = round(epoch, DECIMALS)
    return int(rounded) if rounded == int(rounded) else rounded


def _expanded(entries: Iterable[Any]) -> Iterator[float]:
    for entry in entries:
        yield from entry.epochs if isinstance(entry, LookSeries) else (entry,)


def _looks(written: Any) -> tuple[float, ...]:
    """Return the epochs that are written as a list or as a series, ascending, each once."""
    entries = [written] if isinstance(written, LookSeries) else written
    return tuple(sorted({_whole_or_part(epoch) for epoch in _expanded(entries)}))


def _kind_of_entry(entry: Any) -> str:
    return "series" if isinstance(entry, dict | LookSeries) else "number"


def _kind_of_looks(written: Any) -> str:
    return "series" if isinstance(written, dict | LookSeries) else "list"


if TYPE_CHECKING:
    Looks = tuple[float, ...]
else:
    _Entry = Annotated[
        Annotated[float, Field(ge=0), BeforeValidator(refuse_bool), Tag("number")]
        | Annotated[LookSeries, Tag("series")],
        Discriminator(_kind_of_entry),
    ]
    Looks = Annotated[
        Annotated[tuple[_Entry, ...], Tag("list")] | Annotated[LookSeries, Tag("series")],
        Discriminator(_kind_of_looks),
        AfterValidator(_looks),
        PlainSerializer(tuple),  # whole epochs stay integers
    ]


def epoch_text(epoch: float) -> str:
    """Return an epoch as it is told: a whole one as an integer.

    Parameters
    ----------
    epoch
        Number of epochs.

    Examples
    --------
    >>> epoch_text(4), epoch_text(4.0), epoch_text(0.25)
    ('4', '4', '0.25')
    """
    return f"{epoch:.{DECIMALS}f}".rstrip("0").rstrip(".")


def look_folder(epoch: float) -> str:
    """Return the name of the folder of a kept network, in the folder of its run.

    Parameters
    ----------
    epoch
        Number of epochs after which the network is kept.

    Examples
    --------
    >>> look_folder(5), look_folder(0.25)
    ('epoch-0005', 'epoch-0000.25')
    """
    whole, dot, part = epoch_text(epoch).partition(".")
    return f"epoch-{int(whole):04d}{dot}{part}"
