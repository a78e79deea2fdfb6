"""Where a forward pass is taken up again behind a layer, and with which values."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from unitlens.networks.graph import Program, Values
from unitlens.networks.layers import UnitLayer, UnitNetwork
from unitlens.networks.observation import Fold, Observation, UnfoldableError


@dataclass(frozen=True)
class Rows:
    """Rows of one folded batch: which channel of which sample is clamped to which value."""

    channels: Tensor
    samples: Tensor
    values: Tensor


@dataclass(frozen=True)
class Resume:
    """How to go on from a layer with any choice of samples as the rows of a folded batch.

    Attributes
    ----------
    layer, node
        The layer and its node.
    stop
        The node behind which the pass is resumed: the layer's own, or the dense operation that
        alone reads the layer.
    linear
        That dense operation.
    folds
        For each value that is live behind `stop`, how it is gathered by samples.
    sample_bytes
        Bytes that one row needs at once.
    """

    layer: UnitLayer
    node: fx.Node
    stop: fx.Node
    linear: nn.Linear | None
    folds: dict[fx.Node, Fold]
    sample_bytes: int

    def folded(self, values: Values, samples: Tensor) -> Values:
        """Gather the live values but the stop's own; what comes of it may be overwritten."""
        return {
            node: fold(values[node], samples)
            for node, fold in self.folds.items()
            if node is not self.stop
        }

    def ablated(self, values: Values, activation: Tensor, rows: Rows) -> Values:
        """Gather the live values with one unit of each row clamped."""
        folded = self.folded(values, rows.samples)
        stop = values[self.stop].index_select(0, rows.samples)
        if self.linear is None:
            clamp_units(stop, self.layer, rows)
        else:  # z - (a_u - v) W[:, u], what the dense operation makes of the clamped activation
            change = activation[rows.samples, rows.channels] - rows.values
            columns = self.linear.weight.t().index_select(0, rows.channels)
            stop.addcmul_(change.unsqueeze(1), columns, value=-1)
        return {**folded, self.stop: stop}


def clamp_units(activation: Tensor, layer: UnitLayer, rows: Rows) -> None:
    """Clamp one unit of each row of an activation, in place, at every position."""
    by_unit = activation.movedim(layer.axis, 1)
    everyone = torch.arange(len(activation), device=activation.device)
    by_unit[everyone, rows.channels] = rows.values.reshape(-1, *[1] * (by_unit.dim() - 2))


def resume_from(network: UnitNetwork, layer: UnitLayer, *, single: bool) -> Resume | None:
    """Return how a pass is resumed from a layer, None where only whole passes are right.

    With `single`, one unit a row is to be clamped; then a dense operation that alone reads the
    layer is updated by one column of its weights, and the pass resumed behind it.
    """
    program, observation = network.program, network.observation
    if program is None or observation is None:
        return None
    node = network.nodes[layer.name]
    stop, linear = node, None
    if single:
        stop, linear = _sole_linear(program, observation, node)
    try:
        folds = {live: observation.fold(live) for live in program.live(stop)}
    except UnfoldableError:
        return None
    sample_bytes = max(observation.bytes_after(program.index[stop]), 1)
    return Resume(layer, node, stop, linear, folds, sample_bytes)


def _sole_linear(
    program: Program, observation: Observation, node: fx.Node
) -> tuple[fx.Node, nn.Linear | None]:
    """Return the dense operation that alone reads a node of shape (samples, units)."""
    reader = node
    while observation.two[node].dim() == 2 and len(reader.users) == 1:
        (reader,) = reader.users
        module = program.modules.get(reader)
        if isinstance(module, nn.Linear) and reader.users:
            return reader, module
        if not isinstance(module, nn.Dropout | nn.Identity):
            break
    return node, None
