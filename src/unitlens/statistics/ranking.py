"""The samples to which each unit responds most, of a block and of two blocks together."""

from dataclasses import dataclass

import numpy as np

from unitlens.statistics.moments import Floats, Integers


@dataclass(frozen=True)
class Strongest:
    """The strongest samples of each unit, (units, ranks) each, descending.

    `values` are their activations and `samples` their numbers; minus infinity and -1 where there
    are fewer. Of equal activations the first sample is the strongest.
    """

    values: Floats
    samples: Integers


def no_strongest(units: int, ranks: int) -> Strongest:
    """Return none."""
    shape = (units, ranks)
    return Strongest(np.full(shape, -np.inf), np.full(shape, -1))


def ranked(unordered: Strongest, first: int) -> Strongest:
    """Return those of a block, whose samples are numbered from `first` on, in descending order.

    Unordered they are in the order of their samples.
    """
    values, samples = unordered.values, unordered.samples
    order = np.argsort(-values, axis=1, kind="stable")
    samples = np.where(samples >= 0, samples + first, -1)
    return Strongest(np.take_along_axis(values, order, 1), np.take_along_axis(samples, order, 1))


def merge_strongest(one: Strongest, other: Strongest) -> Strongest:
    """Return the strongest samples of both."""
    from unitlens.statistics.block_kernels import merge_strongest as kernel

    merged = no_strongest(*one.values.shape)
    kernel(one.values, one.samples, other.values, other.samples, merged.values, merged.samples)
    return merged
