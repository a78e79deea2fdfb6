"""Scores of the samples of a batch under the unperturbed network."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SampleScores:
    """Labels of the samples of a batch, and their scores under the unperturbed network.

    Attributes
    ----------
    labels
        Class of each sample.
    losses, hits
        Loss and hit of each sample, float64.
    top
        Number of largest logits: a sample is a hit where its label is among them.
    of_rows
        Function of logits (rows, classes) and labels (rows,) that returns losses and hits.
    """

    labels: Tensor
    losses: Tensor
    hits: Tensor
    top: int
    of_rows: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
