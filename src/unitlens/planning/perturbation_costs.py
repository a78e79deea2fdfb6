"""What passes and perturbations cost, in multiply-adds a sample, before any of them is run."""

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
from unitlens.perturbation.engine.chain_search import find_chain
from unitlens.perturbation.engine.resumption import End, Traversal, make_resumption


def pass_work(run: Callable[[Tensor], Any], inputs: Tensor) -> int:
    """Return the multiply-adds of a function of tensors.

    Parameters
    ----------
    run
        The function.
    inputs
        What it is called with.

    Returns
    -------
    Those of dense, convolutional and attention operations and products of matrices, each counted
    as two floating-point operations by torch; what works number by number is left out.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(inputs)
    return int(counter.get_total_flops()) // 2


def node_work(program: Program, inputs: Tensor) -> dict[fx.Node, int]:
    """Return the multiply-adds of each node of a program, as :func:`pass_work` counts them.

    Parameters
    ----------
    program
        The program of a network.
    inputs
        A batch of one sample.
    """
    found, values, before = {}, program.start(inputs), 0
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for node in program.nodes:
            program.step(node, values)
            after = int(counter.get_total_flops())
            found[node], before = (after - before) // 2, after
    return found


class Costs:
    """Multiply-adds a sample of a network, while it is open.

    Parameters
    ----------
    network
        A network, entered, with ``simplified=True``.
    example
        A batch of one sample.

    Attributes
    ----------
    forward
        Those of a forward pass, ``F``.
    """

    def __init__(self, network: UnitNetwork, example: Tensor) -> None:
        self._network = network
        program, inputs = network.program, network.ready(example)
        self._work = {} if program is None else node_work(program, inputs)
        self.forward = sum(self._work.values())
        if program is None:
            self.forward = pass_work(network.model, inputs)

    def of_unit(self, layer: UnitLayer) -> float:
        """Return what one unit of a layer costs, ``K_l + B_l``; a whole pass where none resumes."""
        plan = make_resumption(self._network, (layer,), update=True)
        if plan is None:
            return self.forward
        # Each reads all units of the layer, so that one of them is that share of its work.
        updates = sum(self._work[node] for node in plan.readers) / layer.units
        return updates + sum(self._work[node] for node, _ in plan.steps)

    def behind(self, layers: Sequence[UnitLayer]) -> int:
        """Return what lies behind the first of some layers, ``B``."""
        plan = make_resumption(self._network, layers, update=False)
        return self.forward if plan is None else sum(self._work[node] for node, _ in plan.steps)

    def units(self, layers: Sequence[UnitLayer], drawn: Sequence[float] | None = None) -> float:
        """Return what units of some layers cost, each ablated alone: at most this.

        Parameters
        ----------
        layers
            The layers.
        drawn
            How many units of each; all if None.
        """
        counts = [layer.units for layer in layers] if drawn is None else drawn
        each = zip(layers, counts, strict=True)
        return 2 * self.forward + sum(count * self.of_unit(layer) for layer, count in each)

    def curve(
        self, layers: Sequence[UnitLayer], *, orders: int, points: int, chained: bool = True
    ) -> float:
        """Return what a cumulative ablation costs.

        Parameters
        ----------
        layers
            The layers whose units are ablated.
        orders, points
            Orders of ablation, and points of each curve.
        chained
            Whether values are one number a unit, so that a chain of layers may be taken as one.
        """
        behind = self.behind(layers)
        parts = self._chain(layers) if chained else None
        if parts is None:
            return 2 * self.forward - behind + (orders * (points - 2) + 1) * behind
        first, *others = parts
        left = [1 - point / (points - 1) for point in range(1, points - 1)]
        sets = sum(work * share**links for work, links in others for share in left)
        return 2 * self.forward - behind + orders * (first[0] + sets)

    def noise(self, variants: int) -> float:
        """Return what so many noisy passes cost."""
        behind = self.behind(self._network.layers)
        return 2 * self.forward - behind + variants * behind

    def turning(self, layers: Sequence[UnitLayer]) -> int:
        """Return what turning activations to a basis and back costs a set, at most."""
        return sum(layer.units * prod(layer.shape) for layer in layers)

    def _chain(self, layers: Sequence[UnitLayer]) -> list[tuple[int, int]] | None:
        """Return each operation's work and how many of its sides are ablated; None: no chain."""
        chain = find_chain(self._network, layers)
        if chain is None or self._network.program is None:
            return None
        nodes = {module: node for node, module in self._network.program.modules.items()}
        return [
            (self._work[nodes[two.module]], (one.layer is not None) + (two.layer is not None))
            for one, two in pairwise(chain.blocks)
        ]

    def sample_bytes(self) -> int:
        """Return the bytes that a sample takes in a pass, what operations take beside included."""
        program = self._network.program
        if program is None:
            return self._network.memory.peak
        return Traversal(self._network, program, [End(len(program.nodes) - 1)]).sample_bytes


def open_network(model: nn.Module, shape: tuple[int, ...]) -> UnitNetwork:
    """Return a network, to be entered, whose costs on inputs of a shape can be asked for."""
    return UnitNetwork(model, torch.zeros(1, *shape), simplified=True)
