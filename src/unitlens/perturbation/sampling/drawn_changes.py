"""Changes of loss and hits of drawn pairs of a unit and a sample."""

from typing import ClassVar

import torch
import xxhash
from torch import Tensor

from unitlens.errors import SavedSumsError


class DrawnChanges:
    """Changes of loss and hits of drawn pairs; 0 for pairs that are not run.

    Attributes
    ----------
    loss, hits
        Change of the loss and of the hit of each drawn pair, float64 (pairs,): pairs by row of the
        table, those of a row by sample.
    pairs
        Hash that tells which pairs are drawn.
    """

    summed: ClassVar[tuple[str, ...]] = ("loss", "hits", "pairs")

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
        self.pairs = self._own_pairs = xxhash.xxh3_128_hexdigest(drawn.cpu().numpy().tobytes())
        self.loss = torch.zeros(int(drawn.sum()), dtype=torch.float64, device=drawn.device)
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
        self.check()
        places = self._places[rows, samples]
        self.loss[places], self.hits[places] = loss, hits

    def check(self) -> None:
        """Raise SavedSumsError where saved changes are those of other pairs.

        Rounding decides of pairs whose random number is next to their probability. On a GPU, it may
        be another one when the call is begun again.
        """
        if self.pairs != self._own_pairs:
            raise SavedSumsError(
                "the checkpoint holds changes of other pairs than are drawn now, for predictions "
                "were rounded otherwise; delete the file, and that of the pilot beside it, so that "
                "the call begins anew"
            )
