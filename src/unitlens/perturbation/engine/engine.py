"""The engine: perturbed passes that run only operations behind the perturbed layers."""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor

from unitlens.errors import ModelError
from unitlens.model.graph import Program, Values
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.repeatability import find_repeatability
from unitlens.model.user_forward import user_forward
from unitlens.perturbation.engine.batch_memory import Memory, chain_bytes
from unitlens.perturbation.engine.chains import Chain, ChannelValues, find_chain
from unitlens.perturbation.engine.chosen_rows import ChosenRows, run_chosen_rows
from unitlens.perturbation.engine.effects import BasePass, Effect, SummedEffect, find_dense_head
from unitlens.perturbation.engine.fitting_rows import FittingRows
from unitlens.perturbation.engine.nested_orders import NestedOrder
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.readers import PerturbedPairs
from unitlens.perturbation.engine.resumption import (
    AnyStop,
    Resumption,
    Traversal,
    make_resumption,
    output_stop,
)
from unitlens.perturbation.engine.row_batches import (
    VariantEdit,
    VariantRows,
    batches_of_chosen,
    batches_of_pairs,
)
from unitlens.perturbation.engine.sample_scores import SampleScores
from unitlens.perturbation.engine.shortcut_checks import chain_agrees, fastest_resumptions
from unitlens.perturbation.engine.steps import IsDue, every_step
from unitlens.perturbation.engine.whole_passes import whole_passes, whole_variants

logger = logging.getLogger("unitlens")

# Kinds of perturbation: units or mixtures of units, one at a time; or many units together.
Perturbed = Literal["units", "mixtures", "together"]


class Engine:
    """Runs perturbed forward passes of an open network.

    Parameters
    ----------
    network
        The open network.
    layers
        The layers that are perturbed, in the order of the forward pass.
    example
        A few inputs, on which every shortcut is compared with whole passes. Where a shortcut gives
        other numbers, whole passes run, and a log line says so.
    budget
        Limit in bytes of all values and copies of weights.
    target_bytes
        Bytes of one sample's target.
    perturbed
        Kind of perturbation: :meth:`each_alone` is called with units or with mixtures of units, or
        :meth:`together`, :meth:`chosen` and :meth:`nested` are called.
    updates
        Whether the outputs of a layer's readers may be updated by their weights; else readers run
        again.

    Attributes
    ----------
    output_shape
        Shape of the network's output for the example.
    memory
        The memory limit.
    repeatability
        How far the network gives the same numbers again.

    Raises
    ------
    ModelError
        Where the output does not have its samples on axis 0.
    """

    def __init__(
        self,
        network: UnitNetwork,
        layers: Sequence[UnitLayer],
        example: AnyInputs,
        *,
        budget: float,
        target_bytes: int = 8,
        perturbed: Perturbed = "units",
        updates: bool = True,
    ) -> None:
        self._network = network
        self._layers, self._example = tuple(layers), example[:2]
        self._perturbed, self._updates, self._fitting = perturbed, updates, FittingRows()
        self._joint_resumptions: dict[tuple[str, ...], Resumption | None] = {}
        self.memory = Memory(
            network, layers, self._example, budget=budget, target_bytes=target_bytes
        )
        self.memory.note_output(output := self.logits(self._example))
        self.output_shape = output.shape
        self.repeatability = find_repeatability(network, example)
        self._resumable = network.program is not None and self.repeatability.is_by_sample

    def logits(self, inputs: AnyInputs) -> Tensor:
        """Return the logits (samples, ...) of the unperturbed network."""
        if (logits := self._network.forward_with(inputs, {})).shape[:1] != (len(inputs),):
            raise ModelError(
                f"the model's output has shape {tuple(logits.shape)} for {len(inputs)} samples, "
                "but must have one row for each"
            )
        return logits

    def base_pass(self, inputs: AnyInputs) -> BasePass:
        """Run the unperturbed network on a batch, for :meth:`each_alone`."""
        resumptions = [*self._resumptions.values()]
        if not resumptions or not self.memory.holds(len(inputs)):
            return BasePass(inputs, self.logits(inputs))
        stop = output_stop(self._traced, resumptions)
        with user_forward(self._network.model, inputs):
            _, values = next(self._traversal([stop]).run(inputs))
        return BasePass(inputs, self._network.logits(self._traced.outcome(values)), values)

    def batch_size(self, at_most: int, kept_bytes: int = 0) -> int:
        """Return the number of samples per batch within the memory limit.

        Parameters
        ----------
        at_most
            Largest number.
        kept_bytes
            Bytes per sample that the caller holds meanwhile.
        """
        if self._perturbed == "together":
            joint = self._joint_resumption(self._layers)
            resumptions = [] if joint is None else [joint]
            whole = joint is None
        else:
            resumptions = [*self._resumptions.values()]
            whole = len(resumptions) < len(self._layers)
        return self.memory.samples(at_most, resumptions, kept_bytes, whole=whole)

    def each_alone(
        self, base: BasePass, perturbed: Sequence[Directions],
        scores: SampleScores | None = None, is_due: IsDue = every_step,
    ) -> Iterator[Effect | SummedEffect]:  # fmt: skip
        """Perturb along every direction alone.

        Parameters
        ----------
        base
            The unperturbed pass over a batch, from :meth:`base_pass`.
        perturbed
            The directions, one entry per layer.
        scores
            Labels and scores of the samples, where changes of loss and hits may be summed; None
            where directions have chosen samples.
        is_due
            Function that tells whether a step of some rows runs.

        Yields
        ------
        Effects that hold, for every direction, every sample whose activation the perturbation
        changes at some position, among the chosen samples where directions have chosen ones. All
        other outputs stay as they are.
        """
        resumed = {d.layer.name: d for d in perturbed if d.layer.name in self._resumptions}
        resumptions = [self._resumptions[name] for name in resumed]
        for resumption, values in self._stops(base, resumptions):
            (layer,) = resumption.layers.values()
            for part in self._parts(resumed[layer.name], len(base.inputs), resumption):
                yield from self._effects(base.inputs, resumption, part, values, scores, is_due)
        for directions in perturbed:
            if directions.layer.name not in resumed:
                yield from self._in_whole_passes(base.inputs, directions, is_due)

    def _stops(
        self, base: BasePass, resumptions: Sequence[Resumption]
    ) -> Iterator[tuple[Resumption, Values]]:
        if base.values is not None:
            yield from ((resumption, base.values) for resumption in resumptions)
        elif resumptions:
            yield from self._traversal(resumptions).run(base.inputs)

    def _parts(
        self, directions: Directions, samples: int, resumption: Resumption | None
    ) -> Iterator[Directions]:
        """Yield the directions, in parts where memory does not hold all their coefficients."""
        size, count = self.memory.directions(directions, samples, resumption), len(directions)
        if size >= count:
            yield directions
            return
        for start in range(0, count, size):
            yield directions.part(slice(start, start + size))

    def _effects(
        self, inputs: AnyInputs, resumption: Resumption, directions: Directions, values: Values,
        scores: SampleScores | None, is_due: IsDue,
    ) -> Iterator[Effect | SummedEffect]:  # fmt: skip
        activation = values[self._network.nodes[directions.layer.name]]
        coefficients = directions.coefficients(activation)
        # The difference of two infinities is NaN, so that outputs cannot be updated by it.
        finite = torch.isfinite(coefficients.flatten(1).sum(1))
        if resumption.readers and not finite.all():
            yield from self._in_whole_passes(inputs, directions.part(~finite), is_due)
            directions, coefficients = directions.part(finite), coefficients[finite]
            if not len(directions):
                return
        logits = self._network.logits_node
        head = None if scores is None else find_dense_head(self._traced, resumption, logits)
        if scores is not None and head is not None:
            output, rows = values[head.reader.node], self.memory.rows(resumption)
            yield from head.effects(directions, coefficients, output, scores, is_due, rows)
            return
        numbers, samples = directions.changed(coefficients).nonzero(as_tuple=True)
        if not len(numbers):
            return
        size = self.memory.rows(resumption)
        if directions.chosen is None:
            unsplit = any(reader.by_direction for reader in resumption.readers.values())
            batches = batches_of_pairs(numbers, size, unsplit=unsplit)
        else:
            batches = batches_of_chosen(numbers, size)
        run = partial(resumption.run, self._traced, values, directions)
        for batch in batches:
            if not is_due(len(batch.kept)):
                continue
            pairs = PerturbedPairs.of_batch(batch, numbers, samples, coefficients)
            output = self._fitting.run(lambda some: self._network.logits(run(some)), pairs)
            table_rows = directions.table_rows[pairs.directions[batch.kept]]
            yield Effect(table_rows, pairs.samples[batch.kept], output[batch.kept])

    def _in_whole_passes(
        self, inputs: AnyInputs, directions: Directions, is_due: IsDue
    ) -> Iterator[Effect]:
        parts = [*self._parts(directions, len(inputs), None)]
        return whole_passes(self._network, inputs, directions, parts, is_due)

    def together(
        self, inputs: AnyInputs, count: int, edit: VariantEdit,
        layers: Sequence[UnitLayer] | None = None, is_due: IsDue = every_step,
    ) -> Iterator[tuple[slice, Tensor]]:  # fmt: skip
        """Run variants of the network, each with edits in several layers.

        Parameters
        ----------
        inputs
            One batch.
        count
            Number of variants.
        edit
            Function of a layer, its activations (variants or 1, samples, ...) and the slice of
            variants, that returns new activations (variants, samples, ...). It may change the
            given activations in place where they have one entry per variant.
        layers
            The layers that are edited; all layers of the engine if None.
        is_due
            Function that tells whether a step of some rows runs.

        Yields
        ------
        Slices of the variants and their outputs (variants, samples, ...).
        """
        edited = self._layers if layers is None else layers
        resumption = self._joint_resumption(edited)
        if resumption is None:
            yield from whole_variants(self._network, inputs, count, edit, edited, is_due)
            return
        rows = VariantRows.within(self.memory.rows(resumption), len(inputs))
        for _, values in self._traversal([resumption]).run(inputs):
            for start in range(0, count, rows.at_once):
                variants = slice(start, min(start + rows.at_once, count))
                if is_due((variants.stop - start) * len(inputs)):
                    yield variants, self._variants(resumption, values, variants, edit, rows)

    def _variants(
        self, resumption: Resumption, values: Values, variants: slice, edit: VariantEdit,
        rows: VariantRows,
    ) -> Tensor:  # fmt: skip
        number = variants.stop - variants.start
        starts = resumption.gather(values, rows.numbers(number, self._network.device))
        for node in resumption.explicit:
            base = values[node].clone() if number == 1 else values[node]
            edited = edit(resumption.layers[node], base.unsqueeze(0), variants)
            starts[node] = rows.join(edited).to(base.dtype)
        layers = resumption.layers.items()
        edits = {node: rows.edit(edit, layer, variants) for node, layer in layers}
        output = self._network.logits(resumption.finish(self._traced, starts, edits))
        return rows.split(output, number)

    def chosen(
        self, inputs: AnyInputs, rows: Sequence[ChosenRows], is_due: IsDue = every_step
    ) -> Iterator[Effect]:
        """Run chosen rows of a batch; see :func:`run_chosen_rows`."""
        resumed = [(of_layers, self._joint_resumption(of_layers.layers)) for of_layers in rows]
        return run_chosen_rows(self._network, self.memory, inputs, resumed, is_due)

    def nested(
        self, inputs: AnyInputs, values: ChannelValues, orders: Sequence[NestedOrder],
        counts: Sequence[int], is_due: IsDue = every_step,
    ) -> Iterator[tuple[int, Tensor]]:  # fmt: skip
        """Ablate nested sets of the units of all layers, where :attr:`is_chain` is true.

        Parameters
        ----------
        inputs
            One batch.
        values
            Value of each unit (units,), by the name of the layer; None for 0 of all units.
        orders
            The orders of ablation.
        counts
            Number of ablated units of each set, descending.
        is_due
            Function that tells whether a step of some rows runs: the sets of one order.

        Yields
        ------
        The number of each order, and the logits (sets, samples, ...) of its sets.
        """
        chains = [] if self._chain is None else [self._chain]
        for chain, of_pass in self._traversal(chains).run(inputs):
            activation = of_pass[self._network.nodes[self._layers[0].name]]
            parts = torch.split(activation, self.memory.chain_samples(chain))
            for number, order in enumerate(orders):
                if not is_due(len(counts) * len(inputs)):
                    continue
                sets = [torch.stack([*chain.logits(p, values, order, counts)]) for p in parts]
                yield number, sets[0] if len(sets) == 1 else torch.cat(sets, dim=1)

    @property
    def is_chain(self) -> bool:
        """Whether :meth:`nested` can ablate nested sets of units."""
        return self._chain is not None

    @cached_property
    def _chain(self) -> Chain | None:
        """The chain from the first layer on, None where the network is no chain."""
        possible = self._resumable and self._updates
        chain = find_chain(self._network, self._layers) if possible else None
        if chain is None or not self.memory.allows(chain_bytes(chain)):
            return None
        return chain if chain_agrees(self._network, self._example, chain) else None

    @property
    def samples_together(self) -> int | None:
        """Largest number of samples that :meth:`together` runs at once; None without a limit."""
        resumption = self._joint_resumption(self._layers)
        return None if resumption is None else self.memory.rows(resumption)

    def _traversal(self, stops: Sequence[AnyStop]) -> Traversal[AnyStop]:
        return Traversal(self._network, self._traced, stops)

    @property
    def _traced(self) -> Program:
        program = self._network.program
        assert program is not None  # noqa: S101  only traced networks have resumptions
        return program

    @cached_property
    def _resumptions(self) -> dict[str, Resumption]:
        """The resumption behind each layer by name; whole passes run for the other layers."""
        resumptions: dict[str, Resumption] = {}
        if self._resumable:
            resumptions = fastest_resumptions(
                self._network, self._traced, self._example, self._layers, self.memory,
                updates=self._updates, mixed=self._perturbed == "mixtures",
            )  # fmt: skip
        for layer in self._layers:
            if layer.name not in resumptions:
                self._log_whole_passes(layer)
        return resumptions

    def _log_whole_passes(self, layer: UnitLayer) -> None:
        if self._network.layers.traced:  # of other networks the tracer has logged the reason
            logger.info("'%s': no pass can be resumed from here; whole passes are run", layer.name)

    def _joint_resumption(self, layers: Sequence[UnitLayer]) -> Resumption | None:
        """Return the resumption behind several layers; None where whole passes run."""
        key = tuple(layer.name for layer in layers)
        if key not in self._joint_resumptions:
            joint = (
                make_resumption(self._network, layers, update=False) if self._resumable else None
            )
            self._joint_resumptions[key] = joint
            if joint is None:
                self._log_whole_passes(layers[0])
        return self._joint_resumptions[key]
