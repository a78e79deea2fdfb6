"""What unitlens and a peer both compute, and whether their numbers are the same."""

from dataclasses import dataclass, replace

import numpy as np
import torch

import unitlens as ul
from measuring import fastest
from peers import (
    edited,
)
from unitlens.config.base import LastLayers

LOSS_TOLERANCE = 1e-4  # of the loss of the network as it is; both sides compute in float32
BATCHES = (10_000, 5000, 2500, 1000, 500, 250, 100, 64, 32, 16, 8, 4)
SEED = 0


@dataclass(frozen=True)
class Size:
    """How much is computed; what a case does not know it ignores."""

    samples: int
    units: int | None = None
    last: int | None = None
    orders: int = 10
    points: int = 21
    draws: int = 10
    scales: int = 10

    def reduced(self, share):
        """Return a part of the work: of the sampled units if it has such, else of the samples."""
        if self.units is not None:
            return replace(self, units=max(4, round(self.units * share)))
        return replace(self, samples=max(64, round(self.samples * share)))


@dataclass(frozen=True)
class Numbers:
    """Losses (or their increase) of each row, and right answers (or how many fewer), if known."""

    loss: np.ndarray
    hits: np.ndarray | None
    baseline_loss: float
    samples: int

    def rows(self, chosen):
        return replace(self, loss=self.loss[chosen], hits=self.hits[chosen])


@dataclass(frozen=True)
class Agreement:
    """How far numbers differ: losses relative to the baseline's, right answers by their number."""

    loss: float
    hits: int | None
    allowed_hits: int

    @property
    def equal(self):
        return bool(self.loss <= LOSS_TOLERANCE and (self.hits or 0) <= self.allowed_hits)

    @property
    def text(self):
        if self.hits is None:
            return f"largest difference of a loss {self.loss:.0e} of the baseline's"
        return (
            f"largest difference of a loss {self.loss:.0e} of the baseline's; right answers that "
            f"differ: {self.hits} (up to {self.allowed_hits} taken for ties within rounding)"
        )


def agreement(ours, theirs):
    """Compare the same rows of both sides.

    Right answers may differ where two logits tie within rounding: of ten million passes of a
    sample a handful does.
    """
    loss = float(np.max(np.abs(ours.loss - theirs.loss)) / ours.baseline_loss)
    passes = ours.loss.size * ours.samples
    hits = None if theirs.hits is None else int(np.abs(ours.hits - theirs.hits).sum())
    return Agreement(loss, hits, 5 + passes // 1_000_000)


class Race:
    """One work on one network: `ours` and `peer` compute it, each from the data to `Numbers`.

    `first_call` comes first: unitlens on a small part of the work, so that what it compiles is
    ready. Then `prepare_peer`; at the end `agreement` compares, and `needed_macs` counts the work.

    Parameters
    ----------
    subject, size
        The network with its data, and how much is computed.
    share
        Of the peer's passes. `peer_factor` says what its seconds are to be multiplied by then:
        passes of the whole work over those that it makes.
    """

    batches = BATCHES

    def __init__(self, subject, size, share=1.0):
        self.subject, self.size, self._share = subject, size, share
        self.model, self.inputs, self.labels = subject.model, subject.inputs, subject.labels
        self.samples = len(self.inputs)
        layers = ul.unit_layers(self.model, self.inputs[:1])
        layers = layers[-size.last :] if size.last else layers
        self.widths = {layer.name: layer.units for layer in layers}
        self.layers = LastLayers(last=size.last) if size.last else None
        self.peer_factor = 1.0
        self.peer_note = ""
        self._axes = self._count_axes()

    def _count_axes(self):
        axes = {}
        edits = {
            layer: lambda output, name=layer: axes.update({name: output.dim()})
            for layer in self.widths
        }
        with torch.inference_mode(), edited(self.model, edits) as run:
            run(self.inputs[:1])
        return axes

    def _part(self, total):
        return max(1, round(total * self._share))

    def prepare_peer(self):
        """Find by trial how the peer is fastest; set `peer_note` and `peer_factor`."""
        self._best = fastest(self._candidates(), self._trial)
        self.peer_note = f"batches of {self._best}"

    def _candidates(self):
        fitting = [batch for batch in self.batches if batch <= self.samples]
        return fitting[:7] or [self.samples]

    def agreement(self, ours, theirs):
        """Compare what both sides returned."""
        return agreement(ours.rows(slice(len(theirs.loss))), theirs)
