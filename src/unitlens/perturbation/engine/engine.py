"""Perturb units exactly and run only what lies behind them, many perturbations at once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unitlens.errors import ModelError
from unitlens.networks.graph import Edit, Program, Values
from unitlens.networks.layers import UnitLayer, UnitNetwork
from unitlens.networks.simplification import extra_bytes
from unitlens.perturbation.engine.directions import Directions, Units
from unitlens.perturbation.engine.endings import Scored, dense_end
from unitlens.perturbation.engine.plans import (
    Plan,
    Traversal,
    close,
    make_plan,
    samples_are_independent,
)
from unitlens.perturbation.engine.readers import Changes

if TYPE_CHECKING:
    from unitlens.perturbation.engine import fused

logger = logging.getLogger("unitlens")

# Bytes that the rows of one folded batch may take on a CPU: what its caches hold, and below the
# size from which the C library gives memory back to the system after each operation.
CPU_WORKING_SET = 16 * 2**20

VariantEdit = Callable[[UnitLayer, Tensor, slice], Tensor]


@dataclass(frozen=True)
class Effect:
    """What single perturbations do: row of each in a table, sample, and the logits there."""

    table_rows: Tensor
    samples: Tensor
    logits: Tensor


@dataclass(frozen=True)
class SummedEffect:
    """What single perturbations do, summed over samples: row of each in a table, and the sums."""

    table_rows: Tensor
    sums: "fused.Changes"


class Engine:
    """Runs perturbed forward passes of a borrowed network.

    Parameters
    ----------
    network
        The network, entered.
    layers
        The layers that are perturbed, in the order of the forward pass.
    example
        A few inputs, on which every shortcut is compared with whole passes; one that gives other
        numbers is not taken, and a log line says so.
    budget
        Bytes that all values may take.

    Attributes
    ----------
    output_shape
        Shape of what the network puts out for the example.

    Raises
    ------
    ModelError
        Where the output does not have its samples on axis 0.
    """

    def __init__(
        self, network: UnitNetwork, layers: Sequence[UnitLayer], example: Tensor, *, budget: float
    ) -> None:
        self._network = network
        self._layers = tuple(layers)
        self._example = example[:2]
        self._on_cpu = example.device.type == "cpu"
        self._plans: dict[tuple[tuple[str, ...], bool, bool], Plan | None] = {}
        self._budget = budget
        if network.program is not None:
            self._budget = max(budget / 8, budget - extra_bytes(network.program, network.model))
        self.output_shape = self.logits(self._example).shape
        self._foldable = network.program is not None and samples_are_independent(
            network, self._example
        )

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits (samples, ...) of the network as it is."""
        logits = self._network.forward_with(inputs, {})
        if logits.shape[:1] != inputs.shape[:1]:
            raise ModelError(
                f"the model's output has shape {tuple(logits.shape)} for {len(inputs)} samples, "
                "but must have one row for each"
            )
        return logits

    def batch_size(self, asked: int) -> int:
        """Return how many samples to run at once: what is asked, or what the budget allows."""
        sample_bytes = self._sample_bytes()
        return max(1, min(asked, int(self._budget / 2 // sample_bytes)))

    def each_alone(
        self, inputs: Tensor, perturbed: Sequence[Directions], scored: Scored | None = None
    ) -> Iterator[Effect | SummedEffect]:
        """Perturb along every direction of `perturbed` alone.

        Parameters
        ----------
        inputs
            One batch.
        perturbed
            The directions, one entry a layer.
        scored
            The samples' scores, where changes of loss and hits may be summed at once.

        Yields
        ------
        Effects that together hold, for every direction, every sample on which it changes the
        activation at some position. All other outputs stay as they are.
        """
        planned: dict[int, Directions] = {}
        plans: list[Plan] = []
        whole = []
        for directions in perturbed:
            plan = self._plan((directions.layer,), update=True, mixed=directions.mixed)
            if plan is None:
                whole.append(directions)
            else:
                plans.append(plan)
                planned[id(plan)] = directions
        if plans:
            for plan, values in self._traversal(plans).stops(inputs):
                yield from self._effects(inputs, plan, planned[id(plan)], values, scored)
        for directions in whole:
            yield from self._in_whole_passes(inputs, directions)

    def _effects(
        self,
        inputs: Tensor,
        plan: Plan,
        directions: Directions,
        values: Values,
        scored: Scored | None,
    ) -> Iterator[Effect | SummedEffect]:
        activation = values[self._network.nodes[directions.layer.name]]
        changes = directions.changes(activation)
        if plan.readers and not torch.isfinite(changes.sum()):  # infinities have no difference
            yield from self._in_whole_passes(inputs, directions)
            return
        end = None if scored is None else dense_end(self._traced, plan)
        if scored is not None and end is not None:
            columns, output = directions.columns(end.reader), values[end.reader.node]
            sums = end.score(output, changes, columns, scored)
            yield SummedEffect(directions.table_rows, sums)
            return
        numbers, samples = _reached(changes).nonzero(as_tuple=True)
        if not len(numbers):
            return
        size = self._rows_at_once(plan)
        for some, rows in zip(torch.split(numbers, size), torch.split(samples, size), strict=True):
            taken = Changes(some, rows, changes[some, rows])
            folded = self._folded(plan, directions, values, taken)
            output = self._network.logits(plan.finish(self._traced, folded, {}))
            yield Effect(directions.table_rows[some], rows, output)

    def _folded(
        self, plan: Plan, directions: Directions, values: Values, changes: Changes
    ) -> Values:
        """Return the values that the rows of `changes` start from."""
        folded = plan.gathered(values, changes.samples)
        for node in plan.explicit:
            folded[node] = directions.taken_away(values[node], changes)
        for node, reader in plan.readers.items():
            columns = directions.columns(reader)
            folded[node] = reader.updated(values[node], changes, columns)
        return folded

    def _in_whole_passes(self, inputs: Tensor, directions: Directions) -> Iterator[Effect]:
        layer, samples = directions.layer, torch.arange(len(inputs), device=inputs.device)
        _, kept = self._network.capture(
            inputs, [layer], lambda _, a: _reached(directions.changes(a)).any(dim=1)
        )
        for number, reached in enumerate(kept[layer.name].tolist()):
            if reached:
                edit = directions.edit(number)
                output = self._network.forward_with(inputs, {layer.name: edit})
                yield Effect(directions.table_rows[number].expand(len(inputs)), samples, output)

    def together(
        self,
        inputs: Tensor,
        count: int,
        edit: VariantEdit,
        layers: Sequence[UnitLayer] | None = None,
    ) -> Iterator[tuple[slice, Tensor]]:
        """Run `count` variants of the network, each with edits in several layers.

        Parameters
        ----------
        inputs
            One batch.
        count
            Number of variants.
        edit
            Function of a layer, its activations (variants or 1, samples, ...) and the slice of
            variants, that returns new activations (variants, samples, ...).
        layers
            The layers that are edited; all the engine's if None.

        Yields
        ------
        A slice of variants and their outputs (variants, samples, ...), until all are done.
        """
        edited = self._layers if layers is None else layers
        plan = self._plan(edited, update=False)
        if plan is None:
            for number in range(count):
                variant = slice(number, number + 1)
                edits = {layer.name: _editing(edit, layer, variant) for layer in edited}
                yield variant, self._network.forward_with(inputs, edits).unsqueeze(0)
            return
        size = max(1, self._rows_at_once(plan) // len(inputs))
        for _, values in self._traversal([plan]).stops(inputs):
            for start in range(0, count, size):
                variants = slice(start, min(start + size, count))
                yield variants, self._variants(plan, values, variants, edit)

    def _variants(self, plan: Plan, values: Values, variants: slice, edit: VariantEdit) -> Tensor:
        number = variants.stop - variants.start
        samples = len(next(values[node] for node in plan.layers if node in values))
        everyone = torch.arange(samples, device=self._network.device)
        folded = plan.gathered(values, everyone.repeat(number))
        for node in plan.explicit:
            edited = edit(plan.layers[node], values[node].unsqueeze(0), variants)
            folded[node] = edited.flatten(0, 1)
        edits = {node: _editing(edit, layer, variants) for node, layer in plan.layers.items()}
        output = self._network.logits(plan.finish(self._traced, folded, edits))
        return output.reshape(number, samples, *output.shape[1:])

    def _sample_bytes(self) -> int:
        if self._network.program is None:
            return 1
        plans = [self._plan((layer,), update=True) for layer in self._layers]
        return self._traversal([plan for plan in plans if plan is not None]).sample_bytes

    def _traversal(self, plans: Sequence[Plan]) -> Traversal:
        return Traversal(self._network, self._traced, plans)

    @property
    def _traced(self) -> Program:
        program = self._network.program
        assert program is not None  # noqa: S101  there are plans for traced networks only
        return program

    def _rows_at_once(self, plan: Plan) -> int:
        allowed = self._budget / 2
        if self._on_cpu:
            allowed = min(allowed, CPU_WORKING_SET)
        return max(1, int(allowed // plan.row_bytes))

    def _plan(
        self, layers: Sequence[UnitLayer], *, update: bool, mixed: bool = False
    ) -> Plan | None:
        """Return the fastest way to resume behind layers that agrees with whole passes."""
        key = (tuple(layer.name for layer in layers), update, mixed)
        if key not in self._plans:
            self._plans[key] = self._find_plan(layers, update=update, mixed=mixed)
        return self._plans[key]

    def _find_plan(self, layers: Sequence[UnitLayer], *, update: bool, mixed: bool) -> Plan | None:
        if self._foldable:
            for way in dict.fromkeys((update, False)):
                plan = make_plan(self._network, layers, update=way, mixed=mixed)
                if plan is not None and (not update or self._agrees(plan)):
                    return plan
        if self._network.layers.traced:
            logger.info(
                "'%s': no pass can be resumed from here; whole passes are run", layers[0].name
            )
        return None

    def _agrees(self, plan: Plan) -> bool:
        """Compare, on the example, a resumed pass with a whole pass; units at both ends change."""
        (layer,) = plan.layers.values()
        samples = torch.arange(len(self._example), device=self._network.device)
        channels = samples * (layer.units - 1)
        probe = Units(layer, channels, lambda _, a: a.amax() + 1, channels)

        def changes(activation: Tensor) -> Changes:
            return Changes(samples, samples, probe.changes(activation)[samples, samples])

        edits = {layer.name: lambda activation: probe.taken_away(activation, changes(activation))}
        expected = self._network.forward_with(self._example, edits)
        try:
            found = self._resumed(plan, probe, changes)
        except (RuntimeError, ValueError, TypeError, IndexError):  # sizes that do not fit
            return False
        return close(found, expected)

    def _resumed(
        self, plan: Plan, directions: Directions, changes: Callable[[Tensor], Changes]
    ) -> Tensor:
        """Return the logits of the example, with the changes that a function says."""
        ((node, _),) = plan.layers.items()
        logits = torch.empty(0)
        for _, values in self._traversal([plan]).stops(self._example):
            folded = self._folded(plan, directions, values, changes(values[node]))
            logits = self._network.logits(plan.finish(self._traced, folded, {}))
        return logits


def _reached(changes: Tensor) -> Tensor:
    """Tell for each direction and sample whether anything changes, shape (directions, samples)."""
    return (changes != 0).flatten(2).any(2) if changes.dim() > 2 else changes != 0


def _editing(edit: VariantEdit, layer: UnitLayer, variants: slice) -> Edit:
    def apply(activation: Tensor) -> Tensor:
        split = activation.reshape(variants.stop - variants.start, -1, *activation.shape[1:])
        return edit(layer, split, variants).flatten(0, 1)

    return apply
