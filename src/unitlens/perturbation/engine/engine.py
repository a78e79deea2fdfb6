"""Perturb units exactly and run only what lies behind them, many perturbations at once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from unitlens.errors import ModelError
from unitlens.model.graph import Edit, Program, Values
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.perturbation.engine.batch_memory import Memory, chain_bytes
from unitlens.perturbation.engine.chain_search import find_chain
from unitlens.perturbation.engine.chains import Chain, Channels
from unitlens.perturbation.engine.effects import BasePass, Effect, Scored, SummedEffect, dense_end
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.readers import ChangedRows
from unitlens.perturbation.engine.resumption import (
    AnyStop,
    Resumption,
    Traversal,
    holding_end,
    make_resumption,
)
from unitlens.perturbation.engine.trials import chain_agrees, fastest_plans, samples_are_independent

logger = logging.getLogger("unitlens")

# How a network is perturbed: its units, or mixtures of them, one at a time; or many together.
Perturbed = Literal["units", "mixtures", "together"]
VariantEdit = Callable[[UnitLayer, Tensor, slice], Tensor]


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
        Bytes that values and copies of weights may take; see
        :mod:`unitlens.perturbation.engine.batch_memory`.
    target_bytes
        Bytes of one sample's target.
    perturbed
        Whether :meth:`each_alone` is asked of units or of mixtures of them; or :meth:`together`
        and :meth:`nested`.
    updates
        Whether what reads a layer may be brought up to date by its weights, instead of being run.

    Attributes
    ----------
    output_shape
        Shape of what the network puts out for the example.
    memory
        How many samples the budget holds.

    Raises
    ------
    ModelError
        Where the output does not have its samples on axis 0.
    """

    def __init__(
        self,
        network: UnitNetwork,
        layers: Sequence[UnitLayer],
        example: Tensor,
        *,
        budget: float,
        target_bytes: int = 8,
        perturbed: Perturbed = "units",
        updates: bool = True,
    ) -> None:
        self._network = network
        self._layers = tuple(layers)
        self._example = example[:2]
        self._perturbed, self._updates = perturbed, updates
        self._joint_plans: dict[tuple[str, ...], Resumption | None] = {}
        self.memory = Memory(
            network, layers, self._example, budget=budget, target_bytes=target_bytes
        )
        output = self.logits(self._example)
        self.memory.expect(output)
        self.output_shape = output.shape
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

    def base_pass(self, inputs: Tensor) -> BasePass:
        """Run the network as it is, for :meth:`each_alone`."""
        plans = [*self._plans.values()]
        if not plans or not self.memory.holds(len(inputs)):
            return BasePass(inputs, self.logits(inputs))
        end = holding_end(self._traced, plans)
        _, values = next(self._traversal([end]).stops(inputs))
        return BasePass(inputs, self._network.logits(self._traced.outcome(values)), values)

    def batch_size(self, asked: int, kept_bytes: int = 0) -> int:
        """Return how many samples to run at once: what is asked, or what the budget allows.

        Parameters
        ----------
        asked
            At most so many.
        kept_bytes
            Bytes that the caller keeps for each sample meanwhile.
        """
        if self._perturbed == "together":
            joint = self._joint_plan(self._layers)
            plans = [] if joint is None else [joint]
            whole = joint is None
        else:
            plans = [*self._plans.values()]
            whole = len(plans) < len(self._layers)
        return self.memory.samples(asked, plans, kept_bytes, whole=whole)

    def each_alone(
        self, base: BasePass, perturbed: Sequence[Directions], scored: Scored | None = None
    ) -> Iterator[Effect | SummedEffect]:
        """Perturb along every direction of `perturbed` alone.

        Parameters
        ----------
        base
            What :meth:`base_pass` returned for a batch.
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
        plans: list[Resumption] = []
        whole = []
        for directions in perturbed:
            plan = self._plans.get(directions.layer.name)
            if plan is None:
                whole.append(directions)
            else:
                plans.append(plan)
                planned[id(plan)] = directions
        for plan, values in self._stops(base, plans):
            for some in self._parts(planned[id(plan)], len(base.inputs), plan):
                yield from self._effects(base.inputs, plan, some, values, scored)
        for directions in whole:
            yield from self._in_whole_passes(base.inputs, directions)

    def _stops(
        self, base: BasePass, plans: Sequence[Resumption]
    ) -> Iterator[tuple[Resumption, Values]]:
        if base.values is not None:
            yield from ((plan, base.values) for plan in plans)
        elif plans:
            yield from self._traversal(plans).stops(base.inputs)

    def _parts(
        self, directions: Directions, samples: int, plan: Resumption | None
    ) -> Iterator[Directions]:
        """Yield the directions, or parts of them where memory does not hold what all change."""
        size, count = self.memory.directions(directions, samples, plan), len(directions)
        if size >= count:
            yield directions
            return
        for start in range(0, count, size):
            yield directions.part(slice(start, start + size))

    def _effects(
        self,
        inputs: Tensor,
        plan: Resumption,
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
        size = self.memory.rows(plan)
        for some, rows in zip(torch.split(numbers, size), torch.split(samples, size), strict=True):
            taken = ChangedRows(some, rows, changes[some, rows])
            folded = plan.perturbed(values, directions, taken)
            output = self._network.logits(plan.finish(self._traced, folded, {}))
            yield Effect(directions.table_rows[some], rows, output)

    def _in_whole_passes(self, inputs: Tensor, directions: Directions) -> Iterator[Effect]:
        layer, samples = directions.layer, torch.arange(len(inputs), device=inputs.device)

        def reached(_: UnitLayer, activation: Tensor) -> Tensor:
            parts = self._parts(directions, len(inputs), None)
            return torch.cat([_reached(some.changes(activation)).any(dim=1) for some in parts])

        _, kept = self._network.capture(inputs, [layer], reached)
        for number, changed in enumerate(kept[layer.name].tolist()):
            if changed:
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
            variants, that returns new activations (variants, samples, ...). It may change given
            activations in place where there is one for each variant.
        layers
            The layers that are edited; all the engine's if None.

        Yields
        ------
        A slice of variants and their outputs (variants, samples, ...), until all are done.
        """
        edited = self._layers if layers is None else layers
        plan = self._joint_plan(edited)
        if plan is None:
            for number in range(count):
                variant = slice(number, number + 1)
                edits = {layer.name: _editing(edit, layer, variant) for layer in edited}
                yield variant, self._network.forward_with(inputs, edits).unsqueeze(0)
            return
        size = max(1, self.memory.rows(plan) // len(inputs))
        for _, values in self._traversal([plan]).stops(inputs):
            for start in range(0, count, size):
                variants = slice(start, min(start + size, count))
                yield variants, self._variants(plan, values, variants, edit)

    def _variants(
        self, plan: Resumption, values: Values, variants: slice, edit: VariantEdit
    ) -> Tensor:
        number = variants.stop - variants.start
        samples = len(next(values[node] for node in plan.layers if node in values))
        everyone = torch.arange(samples, device=self._network.device)
        folded = plan.gathered(values, everyone.repeat(number))
        for node in plan.explicit:
            base = values[node].clone() if number == 1 else values[node]
            edited = edit(plan.layers[node], base.unsqueeze(0), variants)
            folded[node] = edited.flatten(0, 1).to(base.dtype)
        edits = {node: _editing(edit, layer, variants) for node, layer in plan.layers.items()}
        output = self._network.logits(plan.finish(self._traced, folded, edits))
        return output.reshape(number, samples, *output.shape[1:])

    def nested(
        self, inputs: Tensor, values: Channels, orders: Sequence[Channels], counts: Sequence[int]
    ) -> Iterator[tuple[int, Tensor]]:
        """Ablate nested sets of the units of all the engine's layers; where :attr:`is_chain`.

        Parameters
        ----------
        inputs
            One batch.
        values
            For each layer's name what each unit is clamped to, (units,).
        orders
            For each layer's name the place of each unit in an order over all layers.
        counts
            How many units are ablated in each set, descending.

        Yields
        ------
        Number of an order, and the logits (sets, samples, ...) of its sets, until all are done.
        """
        chains = [] if self._chain is None else [self._chain]
        for chain, found in self._traversal(chains).stops(inputs):
            activation = found[self._network.nodes[self._layers[0].name]]
            parts = torch.split(activation, self.memory.chain_samples(chain))
            for number, ranks in enumerate(orders):
                logits = [
                    torch.stack([*chain.logits(part, values, ranks, counts)]) for part in parts
                ]
                yield number, logits[0] if len(logits) == 1 else torch.cat(logits, dim=1)

    @property
    def is_chain(self) -> bool:
        """Whether nested sets of units can be ablated by :meth:`nested`."""
        return self._chain is not None

    @cached_property
    def _chain(self) -> Chain | None:
        """Find the network's end behind the first layer, where it is a chain."""
        tried = self._foldable and self._updates
        chain = find_chain(self._network, self._layers) if tried else None
        if chain is None or not self.memory.allows(chain_bytes(chain)):
            return None
        return chain if chain_agrees(self._network, self._example, chain) else None

    @property
    def samples_together(self) -> int | None:
        """How many samples :meth:`together` runs at once at most; None where that is open."""
        plan = self._joint_plan(self._layers)
        return None if plan is None else self.memory.rows(plan)

    def _traversal(self, plans: Sequence[AnyStop]) -> Traversal[AnyStop]:
        return Traversal(self._network, self._traced, plans)

    @property
    def _traced(self) -> Program:
        program = self._network.program
        assert program is not None  # noqa: S101  there are plans for traced networks only
        return program

    @cached_property
    def _plans(self) -> dict[str, Resumption]:
        """Find for each layer how passes are resumed; for others whole ones are run."""
        found: dict[str, Resumption] = {}
        if self._foldable:
            found = fastest_plans(
                self._network, self._traced, self._example, self._layers, self.memory,
                updates=self._updates, mixed=self._perturbed == "mixtures",
            )  # fmt: skip
        for layer in self._layers:
            if layer.name not in found:
                self._say_whole(layer)
        return found

    def _say_whole(self, layer: UnitLayer) -> None:
        if self._network.layers.traced:  # of others it is said that they cannot be
            logger.info("'%s': no pass can be resumed from here; whole passes are run", layer.name)

    def _joint_plan(self, layers: Sequence[UnitLayer]) -> Resumption | None:
        """Return how passes are resumed behind several layers; None where whole ones are run."""
        key = tuple(layer.name for layer in layers)
        if key not in self._joint_plans:
            plan = make_resumption(self._network, layers, update=False) if self._foldable else None
            self._joint_plans[key] = plan
            if plan is None:
                self._say_whole(layers[0])
        return self._joint_plans[key]


def _reached(changes: Tensor) -> Tensor:
    """Tell for each direction and sample whether anything changes, shape (directions, samples)."""
    return (changes != 0).flatten(2).any(2) if changes.dim() > 2 else changes != 0


def _editing(edit: VariantEdit, layer: UnitLayer, variants: slice) -> Edit:
    def apply(activation: Tensor) -> Tensor:
        split = activation.reshape(variants.stop - variants.start, -1, *activation.shape[1:])
        return edit(layer, split, variants).flatten(0, 1).to(activation.dtype)

    return apply
