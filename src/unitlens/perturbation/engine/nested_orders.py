"""Orders in which the units of all layers are ablated, one after another."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unitlens.model.layers import UnitLayer

Channels = Mapping[str, Tensor]  # by the name of a layer, a number for each of its channels


@dataclass(frozen=True)
class NestedOrder:
    """An order in which the units of all layers are ablated.

    Attributes
    ----------
    channels
        Channels of each layer by its name, the last to be ablated first, (units,).
    ranks
        Ranks of the units of each layer, ascending. They are numbers of Python, for which no batch
        waits.
    """

    channels: Channels
    ranks: Mapping[str, list[int]]

    @classmethod
    def of(cls, ranks: Channels) -> "NestedOrder":
        """Return an order by the rank of each unit over all layers.

        Parameters
        ----------
        ranks
            Rank of each unit (units,), by the name of the layer.
        """
        channels = {name: torch.argsort(places, descending=True) for name, places in ranks.items()}
        return cls(channels, {name: sorted(places.tolist()) for name, places in ranks.items()})

    def remaining(self, layer: UnitLayer | None, ablated: int, channels: int) -> int:
        """Return the number of a layer's channels that remain where some units are ablated."""
        if layer is None:
            return channels
        ranks = self.ranks[layer.name]
        return len(ranks) - bisect_left(ranks, ablated)
