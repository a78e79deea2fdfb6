"""Changes of loss and hits of drawn pairs of a unit and a sample."""

from typing import ClassVar

import torch
from torch import Tensor


class DrawnChanges:
    """Changes of loss and hits of drawn pairs; 0 for pairs that are not run.

    Attributes
    ----------
    loss, hits
        Change of the loss and of the hit of each drawn pair, float64 (pairs,): pairs by row of the
        table, those of a row by sample.
    """

    summed: ClassVar[tuple[str, ...]] = ("loss", "hits")

    def __init__(self, device: torch.device) -> None:
        self.begin(torch.zeros((0, 0), dtype=torch.bool, device=device))

    def begin(self, drawn: Tensor) -> None:
        """Take other pairs, whose changes are not known yet.

        Parameters
        ----------
        drawn
            Whether a pair is drawn, (rows, samples).
        """
        self._places = drawn.flatten().cumsum(0).view_as(drawn) - 1
        pairs = int(drawn.sum())
        self.loss = torch.zeros(pairs, dtype=torch.float64, device=drawn.device)
        self.hits = torch.zeros_like(self.loss)

    def add(self, rows: Tensor, samples: Tensor, loss: Tensor, hits: Tensor) -> None:
        """Add the changes of drawn pairs.

        Parameters
        ----------
        rows, samples
            Row and sample of each pair, (pairs,).
        loss, hits
            Its changes, (pairs,).
        """
        places = self._places[rows, samples]
        self.loss[places], self.hits[places] = loss, hits
