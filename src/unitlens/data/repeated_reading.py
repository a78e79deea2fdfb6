"""Whether a data set gives the same samples when it is read again."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from unitlens.data.batches import iterate_batches
from unitlens.data.samples import Samples, Targets, open_samples
from unitlens.model.inputs import tensors_in
from unitlens.model.restore import isolated_generators

RANDOM_DATA = (
    "the data set gives other inputs or targets for the same samples when they are read again, as "
    "with a random transform"
)
DATA_REMEDY = "give the data set the transform of evaluation, without random crops or flips"
_READ_TWICE = 8  # samples: one random flip in two goes unnoticed once in 2^8 times


def find_random_data(dataset: Any, targets: Targets = "labels") -> tuple[str, ...]:
    """Read some samples twice; return what is doubtful of them in words, if anything.

    Parameters
    ----------
    dataset
        Any data set. A TensorDataset, and a data set whose attribute ``identity`` states
        what it holds, are taken at their word.
    targets
        As for :func:`~unitlens.data.batches.iterate_batches`.
    """
    data = open_samples(dataset)
    is_plain = type(data.dataset) is TensorDataset and data.form.collate_fn is None
    if is_plain or isinstance(getattr(data.dataset, "identity", None), str):
        return ()
    samples = len(data)
    rows = np.unique(np.linspace(0, samples - 1, min(samples, _READ_TWICE)).astype(np.int64))
    with isolated_generators(torch.device("cpu")):
        for row in rows:  # one by one: the items of a data set may differ in shape
            first, again = (_read(data, row, targets) for _ in range(2))
            if len(first) != len(again) or not all(map(_equal, first, again)):
                return (RANDOM_DATA,)
    return ()


def _read(data: Samples, row: np.int64, targets: Targets) -> list[Tensor]:
    ((_, inputs, labels),) = iterate_batches(data, 1, indices=[row], targets=targets)
    return [*tensors_in(inputs), labels]


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())
