"""Nested sets of ablated units in a chain of layers: what is ablated is not computed.

Behind the first layer a chain has nothing but dense and convolutional operations and, between
them, operations that treat each channel by itself. Then

* channels that are ablated need not be computed, and weights that read them need no
  multiplication: where a share `f` of the units is left, `f^2` of the work is;
* the sets of one order are nested, so the first operation is done once for all of them: from the
  set of all units downwards, it gains what the units that come back put in,

      z' = z + W[:, revived] (a - v)[revived]
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from unitlens.model.graph import Program
from unitlens.model.layers import UnitLayer
from unitlens.perturbation.engine.readers import CONVOLVE, by_channel

Channels = Mapping[str, Tensor]  # for each layer's name, something of each of its channels


@dataclass(frozen=True)
class Block:
    """A dense or convolutional operation and what follows it channel by channel.

    Attributes
    ----------
    module
        The operation. The first block of a chain has none: it starts at the first layer.
    before, after
        Operations up to the perturbed layer of units, and behind it.
    layer
        That layer, if there is one.
    """

    module: Any
    before: tuple[fx.Node, ...]
    layer: UnitLayer | None
    after: tuple[fx.Node, ...]


@dataclass(frozen=True)
class Chain:
    """A network's end from the first of the perturbed layers on, where it is a chain.

    Attributes
    ----------
    program
        The network's program.
    blocks
        The blocks in order.
    needs, ready
        Node of the first layer, and its index in the program.
    """

    program: Program
    blocks: tuple[Block, ...]
    needs: frozenset[fx.Node]
    ready: int

    def logits(
        self, activation: Tensor, values: Channels, ranks: Channels, counts: Sequence[int]
    ) -> Iterator[Tensor]:
        """Run the chain for nested sets of ablated units.

        Parameters
        ----------
        activation
            Of the first layer, (samples, units, positions ...).
        values
            What each unit of each layer is clamped to, (units,).
        ranks
            Place of each unit in the order of ablation over all layers, (units,).
        counts
            How many units are ablated in each set, descending.

        Yields
        ------
        The logits (samples, classes) of each set.
        """
        order = _Order.of(ranks)
        links = [_link(self.program, one, two, values, order) for one, two in pairwise(self.blocks)]
        last = self.blocks[-1]
        outputs = _first_outputs(self.program, links[0], order, activation, counts)
        for ablated, found in zip(counts, outputs, strict=True):
            output = found
            for link in links[1:]:
                output = link.follow(self.program, output, order, ablated)
            yield by_channel(self.program, (*last.before, *last.after), output)


@dataclass(frozen=True)
class _Order:
    """The channels of each layer, the last to be ablated first, and their places in the order."""

    channels: Channels
    ranks: Channels

    @classmethod
    def of(cls, ranks: Channels) -> "_Order":
        channels = {name: torch.argsort(places, descending=True) for name, places in ranks.items()}
        return cls(channels, {name: ranks[name][places] for name, places in channels.items()})

    def left(self, layer: UnitLayer | None, ablated: int, channels: int) -> int:
        """Return how many of a layer's channels are left where so many units are ablated."""
        return channels if layer is None else int((self.ranks[layer.name] >= ablated).sum())


@dataclass(frozen=True)
class _Link:
    """What leads from one block of a chain to the operation of the next.

    Attributes
    ----------
    source, target
        The two blocks.
    weight, bias
        Of the operation, (out, in, ...) and (out,), the channels of either side in their order.
    absent
        What the operation reads of channels that are ablated, (1, in, ...); None if that is zero.
    """

    source: Block
    target: Block
    weight: Tensor
    bias: Tensor | None
    absent: Tensor | None

    def follow(self, program: Program, output: Tensor, order: _Order, ablated: int) -> Tensor:
        """Go from what the source's operation puts out to what the target's does."""
        width = self.weight.shape[1]
        left = order.left(self.source.layer, ablated, width)
        rows = max(1, order.left(self.target.layer, ablated, len(self.weight)))
        values = by_channel(program, self.source.before, output[:, : max(left, 1)])
        values = by_channel(program, self.source.after, values)
        if not left:  # one channel stays, so that there is something to compute with
            values = torch.zeros_like(values)
        weight = self.weight[:rows]
        bias = None if self.bias is None else self.bias[:rows]
        found = self.apply(values, weight[:, : max(left, 1)], bias)
        if self.absent is not None and left < width:
            found = found + self.apply(self.absent[:, left:], weight[:, left:], None)
        return found

    def apply(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Run the target's operation on some channels with their weights."""
        module = self.target.module
        if isinstance(module, nn.Linear):
            return functional.linear(values.flatten(1), weight.flatten(1), bias)
        return CONVOLVE[type(module)](
            values, weight, bias,
            stride=module.stride, padding=module.padding, dilation=module.dilation,
        )  # fmt: skip


def _link(program: Program, source: Block, target: Block, values: Channels, order: _Order) -> _Link:
    weight, bias = target.module.weight.detach(), target.module.bias
    bias = None if bias is None else bias.detach()
    absent = None
    if isinstance(target.module, nn.Linear):  # by channel, and its positions
        channels = weight.shape[1] if source.layer is None else source.layer.units
        weight = weight.unflatten(1, (channels, -1))
    if target.layer is not None:
        rows = order.channels[target.layer.name]
        weight, bias = weight[rows], None if bias is None else bias[rows]
    if source.layer is not None:
        layer = source.layer
        columns = order.channels[layer.name]
        weight = weight[:, columns]
        if values[layer.name].any():
            clamped = values[layer.name][columns].reshape(1, -1, *[1] * (len(layer.shape) - 1))
            absent = by_channel(program, source.after, clamped.expand(1, *layer.shape).contiguous())
    return _Link(source, target, weight, bias, absent)


def _first_outputs(
    program: Program, link: _Link, order: _Order, activation: Tensor, counts: Sequence[int]
) -> Iterator[Tensor]:
    """Yield what the first operation puts out for each set, each from the one before."""
    layer = link.source.layer
    assert layer is not None  # noqa: S101  the first block is that of a layer
    present = by_channel(program, link.source.after, activation[:, order.channels[layer.name]])
    absent = torch.zeros_like(present[:1]) if link.absent is None else link.absent
    back = present if link.absent is None else present - absent
    output = link.apply(absent, link.weight, link.bias)
    output = output.expand(len(activation), *output.shape[1:])
    before = 0
    for ablated in counts:
        left = order.left(layer, ablated, layer.units)
        if left > before:
            some = slice(before, left)
            output = output + link.apply(back[:, some], link.weight[:, some], None)
        before = left
        yield output
