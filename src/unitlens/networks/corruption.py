"""Label corruption: a share of the labels is permuted among the samples that carry them."""

import numpy as np
import numpy.typing as npt

from unitlens.errors import ArgumentError
from unitlens.networks.seeds import seeded


def corrupt_labels(
    labels: npt.NDArray[np.int64], fraction: float, *, seed: int
) -> npt.NDArray[np.int64]:
    """Permute a given fraction of the labels among the samples that carry them.

    Parameters
    ----------
    labels
        Labels of the training set, of shape (samples,).
    fraction
        Share of the samples whose labels take part, from 0 to 1. Some of them get their own
        label back: with k balanced classes about ``fraction * (1 - 1 / k)`` of the labels change.
    seed
        The run's seed; equal seeds give equal labels.

    Returns
    -------
    New labels of shape (samples,). Each class keeps exactly as many samples as it had.

    Raises
    ------
    ArgumentError
        Where the fraction lies outside 0..1.

    References
    ----------
    Morcos et al. 2018 (arXiv 1803.06959), after Zhang et al. 2017 (arXiv 1611.03530).

    Examples
    --------
    >>> corrupt_labels(np.array([0, 1, 2, 3]), 0.0, seed=1)
    array([0, 1, 2, 3])
    """
    if not 0 <= fraction <= 1:
        raise ArgumentError(f"the fraction of corrupted labels is {fraction}, but must be in 0..1")
    random = seeded(seed, "corruption")
    chosen = random.permutation(len(labels))[: round(fraction * len(labels))]
    corrupted = labels.copy()
    corrupted[chosen] = labels[random.permutation(chosen)]
    return corrupted
