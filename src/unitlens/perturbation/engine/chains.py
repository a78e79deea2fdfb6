"""Nested sets of ablated units in a chain of layers, without computing ablated channels.

Behind the first layer, a chain has only dense and convolutional operations and, between them,
operations that work on each channel by itself. Then

* ablated channels need not be computed, and weights that read them need no multiplication: where a
  share ``f`` of the units remains, ``f^2`` of the work remains;
* the sets of one order are nested, so the first operation is computed once for all sets: from the
  set of all units downwards, its output ``z`` gains the contributions of the restored units,

      z' = z + W[:, restored] (a - v)[restored]
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from unitlens.model.graph import Program
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.operations import function_name
from unitlens.model.rewriting import is_patched
from unitlens.perturbation.engine.nested_orders import NestedOrder
from unitlens.perturbation.engine.readers import CONVOLVE, averages, by_channel, flattens
from unitlens.perturbation.engine.row_batches import up_to

ChannelValues = Mapping[str, Tensor | None]

_BY_CHANNEL = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Softsign),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
_BY_CHANNEL_FUNCTIONS = frozenset(("relu", "relu6", "tanh", "sigmoid", "gelu", "elu", "silu"))


CHANNELS_AT_ONCE = 32  # on a GPU


@dataclass(frozen=True)
class Block:
    """A dense or convolutional operation, and the operations by channel that follow it.

    Attributes
    ----------
    module
        The operation; None in the first block of a chain, which starts at the first layer.
    before, after
        Operations up to the perturbed layer of units, and behind it.
    layer
        The perturbed layer, if the block has one.
    """

    module: Any
    before: tuple[fx.Node, ...]
    layer: UnitLayer | None
    after: tuple[fx.Node, ...]


@dataclass(frozen=True)
class Chain:
    """The part of a network from the first perturbed layer on, where it is a chain.

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
        self, activation: Tensor, values: ChannelValues, order: NestedOrder, counts: Sequence[int]
    ) -> Iterator[Tensor]:
        """Run the chain for nested sets of ablated units.

        Parameters
        ----------
        activation
            Activation of the first layer, (samples, units, positions ...).
        values
            Value of each unit of each layer, (units,); None for a layer whose values are all 0.
        order
            The order of ablation.
        counts
            Number of ablated units of each set, descending.

        Yields
        ------
        The logits (samples, classes) of each set.
        """
        links = [_link(self.program, one, two, values, order) for one, two in pairwise(self.blocks)]
        last = self.blocks[-1]
        first_outputs = _first_outputs(self.program, links[0], order, activation, counts)
        for ablated, first_output in zip(counts, first_outputs, strict=True):
            output = first_output
            for link in links[1:]:
                output = link.follow(self.program, output, order, ablated)
            yield by_channel(self.program, (*last.before, *last.after), output)


@dataclass(frozen=True)
class _Link:
    """Transition from one block of a chain to the operation of the next block.

    Attributes
    ----------
    source, target
        The two blocks.
    weight, bias
        Weight (out, in, ...) and bias (out,) of the operation, the channels in their order.
    ablated_input
        Input of the operation where all channels are ablated, (1, in, ...); None where it is zero.
    """

    source: Block
    target: Block
    weight: Tensor
    bias: Tensor | None
    ablated_input: Tensor | None

    @cached_property
    def numbers(self) -> Tensor:
        """Numbers of the channels that the operation reads, (in,)."""
        return torch.arange(self.weight.shape[1], device=self.weight.device)

    def follow(self, program: Program, output: Tensor, order: NestedOrder, ablated: int) -> Tensor:
        """Return the output of the target's operation from that of the source's operation."""
        width = self.weight.shape[1]
        remaining = order.remaining(self.source.layer, ablated, width)
        channels = _up_to_step(remaining, width, output.device)
        rows = order.remaining(self.target.layer, ablated, len(self.weight))
        rows = _up_to_step(rows, len(self.weight), output.device)
        values = by_channel(program, self.source.before, output[:, :channels])
        values = by_channel(program, self.source.after, values)
        if remaining < channels:
            values = values.index_fill(1, self.numbers[remaining:channels], 0.0)
        weight = self.weight[:rows]
        bias = None if self.bias is None else self.bias[:rows]
        result = self.apply(values, weight[:, :channels], bias)
        if self.ablated_input is not None and remaining < width:
            constant = self.ablated_input[:, remaining:]
            result = result + self.apply(constant, weight[:, remaining:], None)
        return result

    def apply(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Run the target's operation on some channels with their weights."""
        module = self.target.module
        if isinstance(module, nn.Linear):
            return functional.linear(values.flatten(1), weight.flatten(1), bias)
        return CONVOLVE[type(module)](
            values, weight, bias,
            stride=module.stride, padding=module.padding, dilation=module.dilation,
        )  # fmt: skip


def _link(
    program: Program, source: Block, target: Block, values: ChannelValues, order: NestedOrder
) -> _Link:
    weight, bias = target.module.weight.detach(), target.module.bias
    bias = None if bias is None else bias.detach()
    ablated_input = None
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
        of_units = values[layer.name]
        if of_units is not None:
            clamped = of_units[columns].reshape(1, -1, *[1] * (len(layer.shape) - 1))
            clamped = clamped.expand(1, *layer.shape).contiguous()
            ablated_input = by_channel(program, source.after, clamped)
    return _Link(source, target, weight, bias, ablated_input)


def _first_outputs(
    program: Program, link: _Link, order: NestedOrder, activation: Tensor, counts: Sequence[int]
) -> Iterator[Tensor]:
    """Yield the output of the first operation for each set, each from that of the set before."""
    layer = link.source.layer
    assert layer is not None  # noqa: S101  the first block is that of a layer
    inputs = by_channel(program, link.source.after, activation[:, order.channels[layer.name]])
    constant = torch.zeros_like(inputs[:1]) if link.ablated_input is None else link.ablated_input
    differences = inputs if link.ablated_input is None else inputs - constant
    output = link.apply(constant, link.weight, link.bias)
    output = output.expand(len(activation), *output.shape[1:])
    before = 0
    for ablated in counts:
        remaining = order.remaining(layer, ablated, layer.units)
        if remaining > before:
            count = _up_to_step(remaining - before, layer.units - before, output.device)
            restored = differences[:, before : before + count]
            if before + count > remaining:
                later = link.numbers[remaining - before : count]
                restored = restored.index_fill(1, later, 0.0)
            weight = link.weight[:, before : before + count]
            output = output + link.apply(restored, weight, None)
        before = remaining
        yield output


def _up_to_step(channels: int, most: int, device: torch.device) -> int:
    """Return the number of channels that an operation takes for those that remain, at least one.

    On a GPU it is rounded up, for libraries prepare a kernel for each shape, and prefer round ones.
    """
    step = 1 if device.type == "cpu" else CHANNELS_AT_ONCE
    return min(max(1, up_to(channels, step)), most)


def find_chain(network: UnitNetwork, layers: Sequence[UnitLayer]) -> Chain | None:
    """Return the chain from the first perturbed layer on, None where the network is no chain.

    Parameters
    ----------
    network
        The network.
    layers
        The layers that are perturbed, in the order of the forward pass.
    """
    program = network.program
    if program is None or any(layer.axis != 1 for layer in layers):
        return None
    perturbed = {network.nodes[layer.name]: layer for layer in layers}
    start = network.nodes[layers[0].name]
    parts = [_BlockBuilder(None, layers[0])]
    node, visited = start, {start}
    while node not in program.output.all_input_nodes:
        users = list(node.users)
        if len(users) != 1 or users[0].args[:1] != (node,):
            return None
        (user,) = users
        module = program.modules.get(user)
        if _is_weighted(network, node, user):
            parts.append(_BlockBuilder(module, None))
        elif _is_flattening(network, node, user):
            pass  # the dense operation behind it flattens its input itself
        elif _works_by_channel(network, node, user):
            parts[-1].add(user, perturbed.get(user))
        else:
            return None
        visited.add(user)
        node = user
    if network.logits_node is not node or not set(perturbed) <= visited:
        return None
    if len(parts) < 2 or parts[-1].layer is not None:
        return None
    blocks = tuple(part.block() for part in parts)
    return Chain(program, blocks, frozenset((start,)), program.index[start])


class _BlockBuilder:
    """A block to which operations are added."""

    def __init__(self, module: Any, layer: UnitLayer | None) -> None:
        self._module, self.layer = module, layer
        self._before: list[fx.Node] = []
        self._after: list[fx.Node] = []

    def add(self, node: fx.Node, layer: UnitLayer | None) -> None:
        behind = self.layer is not None
        (self._after if behind else self._before).append(node)
        if layer is not None:
            self.layer = layer

    def block(self) -> Block:
        return Block(self._module, tuple(self._before), self.layer, tuple(self._after))


def _is_weighted(network: UnitNetwork, node: fx.Node, user: fx.Node) -> bool:
    """Tell whether an operation is dense over the units, or a convolution of a chain."""
    program, observation = network.program, network.observation
    if program is None or observation is None:
        return False
    module: Any = program.modules.get(user)
    if module is None or is_patched(module):
        return False
    if type(module) is nn.Linear:
        return bool(observation.two[node].dim() == 2)
    return type(module) in CONVOLVE and module.groups == 1 and module.padding_mode == "zeros"


def _is_flattening(network: UnitNetwork, node: fx.Node, user: fx.Node) -> bool:
    """Tell whether an operation flattens maps for the dense operation behind it."""
    program, observation = network.program, network.observation
    if program is None or observation is None or len(user.users) != 1:
        return False
    dense = type(program.modules.get(next(iter(user.users)))) is nn.Linear
    return dense and flattens(program, observation, node, user)


def _works_by_channel(network: UnitNetwork, node: fx.Node, user: fx.Node) -> bool:
    """Tell whether an operation works on each channel by itself."""
    program, observation = network.program, network.observation
    if program is None or observation is None:
        return False
    if averages(program, observation, node, user):
        return True
    module = program.modules.get(user)
    if module is not None:
        return type(module) in _BY_CHANNEL and not is_patched(module)
    if user.op not in ("call_function", "call_method") or len(user.all_input_nodes) != 1:
        return False
    return function_name(user.target) in _BY_CHANNEL_FUNCTIONS
