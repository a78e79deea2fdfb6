"""Rows of chosen samples, each with edits in several layers, behind the first of these layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from unitlens.model.graph import Edit, Values
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.observation import select_samples
from unitlens.perturbation.engine.batch_memory import Memory
from unitlens.perturbation.engine.effects import Effect
from unitlens.perturbation.engine.resumption import Resumption, Traversal
from unitlens.perturbation.engine.steps import IsDue

RowEdit = Callable[[UnitLayer, Tensor, slice], Tensor]


@dataclass(frozen=True)
class ChosenRows:
    """Pairs of a row of a table and a sample, whose networks are edited in the same layers.

    Attributes
    ----------
    layers
        The layers that are edited, in the order of the forward pass.
    table_rows, samples
        Row of a table and sample of each pair, (pairs,).
    edit
        Function of a layer, its activations on some pairs (pairs, ...) and the slice of these
        pairs, that returns new activations.
    changed
        Whether an edit has changed the activations of a pair, (pairs,). Edits set it.
    """

    layers: tuple[UnitLayer, ...]
    table_rows: Tensor
    samples: Tensor
    edit: RowEdit
    changed: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def edit_of(self, layer: UnitLayer, pairs: slice) -> Edit:
        """Return the edit of a layer's activations on some pairs."""
        return lambda activation: self.edit(layer, activation, pairs).to(activation.dtype)

    def effect(self, pairs: slice, outputs: Tensor) -> Effect:
        """Return the outputs of those of some pairs whose activations have changed."""
        kept = self.changed[pairs]
        return Effect(self.table_rows[pairs][kept], self.samples[pairs][kept], outputs[kept])


def run_chosen_rows(
    network: UnitNetwork,
    memory: Memory,
    inputs: AnyInputs,
    resumed: Sequence[tuple[ChosenRows, Resumption | None]],
    is_due: IsDue,
) -> Iterator[Effect]:
    """Run chosen rows, all in one pass of the unperturbed network as far as passes can be resumed.

    Parameters
    ----------
    network, memory
        The open network, and its memory limit.
    inputs
        One batch.
    resumed
        Rows by the layers that are edited, each with the resumption behind these layers; None
        where whole passes run.
    is_due
        Function that tells whether a step of some rows runs.

    Yields
    ------
    Effects of all pairs whose activations change.
    """
    by_resumption = {id(of): rows for rows, of in resumed if of is not None}
    stops = [resumption for _, resumption in resumed if resumption is not None]
    if network.program is not None and stops:
        for resumption, values in Traversal(network, network.program, stops).run(inputs):
            rows = by_resumption[id(resumption)]
            for pairs in _slices(len(rows), memory.rows(resumption)):
                if is_due(pairs.stop - pairs.start):
                    yield rows.effect(pairs, _resumed(network, resumption, values, rows, pairs))
    for rows, of in resumed:
        if of is None:
            for pairs in _slices(len(rows), len(inputs)):
                if not is_due(pairs.stop - pairs.start):
                    continue
                edits = {layer.name: rows.edit_of(layer, pairs) for layer in rows.layers}
                output = network.forward_with(inputs[rows.samples[pairs]], edits)
                yield rows.effect(pairs, output)


def _resumed(
    network: UnitNetwork, resumption: Resumption, values: Values, rows: ChosenRows, pairs: slice
) -> Tensor:
    """Return the outputs of some pairs."""
    program, samples = network.program, rows.samples[pairs]
    assert program is not None  # noqa: S101  only traced networks have resumptions
    edits: dict[fx.Node, Edit] = {
        node: rows.edit_of(layer, pairs) for node, layer in resumption.layers.items()
    }
    starts = resumption.gather(values, samples)
    for node in resumption.explicit:
        starts[node] = edits[node](select_samples(values[node], 0, samples))
    return network.logits(resumption.finish(program, starts, edits))


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
