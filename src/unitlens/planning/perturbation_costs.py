"""Costs of passes and perturbations in multiply-adds per sample, before any of them is run."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from unitlens.model.graph import Program
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.perturbation.engine.chains import find_chain
from unitlens.perturbation.engine.resumption import NodeStop, Traversal, make_resumption


def count_macs(function: Callable[[Tensor], Any], inputs: Tensor) -> int:
    """Return the multiply-adds of a function of tensors.

    Parameters
    ----------
    function
        The function, for example a network.
    inputs
        Argument of the function.

    Returns
    -------
    Multiply-adds of dense, convolutional and attention operations and of matrix products. Torch
    counts each as two floating-point operations. Elementwise operations are left out.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function(inputs)
    return int(counter.get_total_flops()) // 2


def count_node_macs(program: Program, inputs: Tensor) -> dict[fx.Node, int]:
    """Return the multiply-adds of each node of a program, as :func:`count_macs` counts them.

    Parameters
    ----------
    program
        Program of a network.
    inputs
        A batch of one sample.
    """
    macs, values, before = {}, program.start(inputs), 0
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for node in program.nodes:
            program.step(node, values)
            after = int(counter.get_total_flops())
            macs[node], before = (after - before) // 2, after
    return macs


class PerturbationCosts:
    """Multiply-adds per sample of passes and perturbations of an open network.

    Formulas and symbols are those of docs/method.

    Parameters
    ----------
    network
        A network, entered, with ``simplified=True``.
    example
        A batch of one sample.

    Attributes
    ----------
    forward
        Multiply-adds of a forward pass, ``F``.
    """

    def __init__(self, network: UnitNetwork, example: Tensor) -> None:
        self._network = network
        program, inputs = network.program, network.ready(example)
        self._macs = {} if program is None else count_node_macs(program, inputs)
        self.forward = sum(self._macs.values())
        if program is None:
            self.forward = count_macs(network.model, inputs)

    def one_unit(self, layer: UnitLayer) -> float:
        """Return the cost of one ablated unit of a layer, ``K_l + B_l``.

        The cost is that of a whole pass where passes of the network cannot be resumed.
        """
        resumption = make_resumption(self._network, (layer,), update=True)
        if resumption is None:
            return self.forward
        # A reader takes all units of the layer: the update for one unit is that share of its work.
        updates = sum(self._macs[node] for node in resumption.readers) / layer.units
        return updates + sum(self._macs[node] for node, _ in resumption.steps)

    def resumed_pass(self, layers: Sequence[UnitLayer]) -> int:
        """Return the cost of a pass that is resumed behind the first of some layers, ``B``."""
        resumption = make_resumption(self._network, layers, update=False)
        if resumption is None:
            return self.forward
        return sum(self._macs[node] for node, _ in resumption.steps)

    def units(self, layers: Sequence[UnitLayer], counts: Sequence[float] | None = None) -> float:
        """Return an upper bound of the cost of ablating units of some layers one at a time.

        Parameters
        ----------
        layers
            The layers.
        counts
            Number of ablated units of each layer; all units if None.
        """
        if counts is None:
            counts = [layer.units for layer in layers]
        pairs = zip(layers, counts, strict=True)
        return 2 * self.forward + sum(count * self.one_unit(layer) for layer, count in pairs)

    def curve(
        self, layers: Sequence[UnitLayer], *, orders: int, points: int, chained: bool = True
    ) -> float:
        """Return the cost of a cumulative ablation.

        Parameters
        ----------
        layers
            The layers whose units are ablated.
        orders
            Number of orders of ablation.
        points
            Number of points of each curve.
        chained
            Whether a chain of layers may be computed without the ablated units. Values must then
            be one number for each unit.
        """
        resumed = self.resumed_pass(layers)
        products = self._chain_products(layers) if chained else None
        if products is None:
            return 2 * self.forward - resumed + (orders * (points - 2) + 1) * resumed
        first, *others = products
        left = [1 - point / (points - 1) for point in range(1, points - 1)]
        sets = sum(macs * share**sides for macs, sides in others for share in left)
        return 2 * self.forward - resumed + orders * (first[0] + sets)

    def noise(self, layers: Sequence[UnitLayer], variants: int) -> float:
        """Return the cost of noisy passes, one for each pair of draw and scale (a variant).

        Parameters
        ----------
        layers
            The layers that have noise.
        variants
            Number of pairs.
        """
        resumed = self.resumed_pass(layers)
        return 2 * self.forward - resumed + variants * resumed

    def basis_change(self, layers: Sequence[UnitLayer]) -> int:
        """Return an upper bound of the cost of changing to a basis and back, for each set."""
        return sum(layer.units * prod(layer.shape) for layer in layers)

    def _chain_products(self, layers: Sequence[UnitLayer]) -> list[tuple[int, int]] | None:
        """Return the multiply-adds of each product of a chain, and its number of ablated sides.

        Returns None where the layers form no chain.
        """
        chain = find_chain(self._network, layers)
        if chain is None or self._network.program is None:
            return None
        nodes = {module: node for node, module in self._network.program.modules.items()}
        return [
            (self._macs[nodes[block.module]], sum(b.layer is not None for b in (before, block)))
            for before, block in pairwise(chain.blocks)
        ]

    def sample_bytes(self) -> int:
        """Return the bytes of a sample in a pass, with those that operations take meanwhile."""
        program = self._network.program
        if program is None:
            return self._network.memory.peak
        return Traversal(self._network, program, [NodeStop(len(program.nodes) - 1)]).sample_bytes


def costed_network(model: nn.Module, shape: tuple[int, ...]) -> UnitNetwork:
    """Return a network for :class:`PerturbationCosts`, to be entered.

    Parameters
    ----------
    model
        The module.
    shape
        Shape of one input.
    """
    return UnitNetwork(model, torch.zeros(1, *shape), simplified=True)
