"""Targets of positions: one class for each token or pixel of an item."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from torch import Tensor

from unitlens.data.batches import iterate_batches
from unitlens.data.items import ItemForm
from unitlens.data.map_style import Indices
from unitlens.data.samples import Samples
from unitlens.errors import ArgumentError, DatasetError

Positions = Literal["samples"] | None
IGNORED = -100  # target of positions that do not count, as in torch
_BATCH = 256


def check_positions(positions: Positions) -> None:
    """Raise ArgumentError where `positions` is neither None nor ``samples``."""
    if positions not in (None, "samples"):
        raise ArgumentError(
            f"positions is {positions!r}, but must be 'samples', so that each position with a "
            "target is a sample, or None"
        )


def whole_items(form: ItemForm, positions: Positions) -> ItemForm:
    """Return how items are read: where positions are samples, no item is left out."""
    return form if positions is None else replace(form, ignore_index=None)


def position_targets(samples: Samples, indices: Indices) -> Iterator[Tensor]:
    """Yield the targets (batch, positions ...) of some samples, batch by batch.

    Raises
    ------
    DatasetError
        Where targets are no integers, or have no positions.
    """
    for _, _, targets in iterate_batches(samples, _BATCH, indices=indices, targets="any"):
        if targets.dim() < 2 or targets.is_floating_point():
            raise DatasetError(
                f"the targets have the type {targets.dtype} and the shape "
                f"{tuple(targets.shape[1:])} an item, but positions='samples' needs one integer a "
                "position; leave positions away, or give such targets"
            )
        yield targets


def no_position(ignored: int) -> DatasetError:
    """Return the error of targets that are all ignored."""
    return DatasetError(
        f"all targets are {ignored}, so no position is a sample; give targets of classes from 0, "
        "or another ignore_index"
    )
