"""Perturb units exactly and run only what lies behind them, many perturbations at once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from unitlens.errors import ModelError
from unitlens.networks.graph import Edit, Program, Values
from unitlens.networks.layers import UnitLayer, UnitNetwork
from unitlens.perturbation.resume import Resume, Rows, clamp_units, resume_from

logger = logging.getLogger("unitlens")

# Bytes that the rows of one folded batch may take on a CPU. Measured on 784-512-512-10 and on a
# small convnet: from 2 to 16 MB makes little difference, 64 MB takes twice the time.
CPU_WORKING_SET = 4 * 2**20
SMALLEST_CPU_BATCH = 64

VariantEdit = Callable[[UnitLayer, Tensor, slice], Tensor]


@dataclass(frozen=True)
class Clamp:
    """Units of one layer, each to be clamped alone: channels, values, and their rows in a table."""

    layer: UnitLayer
    channels: Tensor
    values: Tensor
    table_rows: Tensor

    def reached(self, activation: Tensor) -> Tensor:
        """Tell for each unit and sample whether clamping changes the activation anywhere."""
        chosen = activation.movedim(self.layer.axis, 0).index_select(0, self.channels)
        by_position = chosen.reshape(len(chosen), len(activation), -1)
        return (by_position != self.values.reshape(-1, 1, 1)).any(dim=2)


@dataclass(frozen=True)
class Effect:
    """What clamping single units does: table row of the unit, sample, and the logits there."""

    table_rows: Tensor
    samples: Tensor
    logits: Tensor


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
        Bytes that the values of one folded batch may take.

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
        self._budget = budget
        self._example = example[:3]
        self._on_cpu = example.device.type == "cpu"
        self._resumes: dict[tuple[str, bool], Resume | None] = {}
        self.output_shape = self.logits(self._example).shape

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
        """Return how many samples to run at once: what is asked, or what does better.

        Within the budget; on a CPU also a power of two near the working set, but at least 64.
        """
        observation = self._network.observation
        if observation is None:
            return asked
        sample_bytes = max(observation.bytes_after(0), 1)
        allowed = min(asked, max(1, int(self._budget // sample_bytes)))
        if self._on_cpu:
            cached = max(SMALLEST_CPU_BATCH, int(CPU_WORKING_SET // sample_bytes))
            allowed = min(allowed, 2 ** (cached.bit_length() - 1))
        return allowed

    def each_alone(self, inputs: Tensor, clamps: Sequence[Clamp]) -> Iterator[Effect]:
        """Clamp every unit of `clamps` alone.

        Parameters
        ----------
        inputs
            One batch.
        clamps
            The units, one entry a layer.

        Yields
        ------
        Effects that together hold, for every unit, every sample on which its activation differs
        from its value at some position. All other logits stay as they are.
        """
        whole = []
        resumed: list[tuple[Resume, Clamp]] = []
        for clamp in clamps:
            resume = self._resume(clamp.layer, single=True)
            if resume is None:
                whole.append(clamp)
            else:
                resumed.append((resume, clamp))
        if self._network.program is not None:
            yield from self._resumed(self._network.program, inputs, resumed)
        for clamp in whole:
            yield from self._in_whole_passes(inputs, clamp)

    def _resumed(
        self, program: Program, inputs: Tensor, resumed: Sequence[tuple[Resume, Clamp]]
    ) -> Iterator[Effect]:
        layers = {resume.node for resume, _ in resumed}
        by_stop = {resume.stop: (resume, clamp) for resume, clamp in resumed}
        activations: dict[fx.Node, Tensor] = {}
        for node, values in program.pauses(inputs, layers | set(by_stop)):
            if node in layers:
                activations[node] = values[node]
            if node in by_stop:
                resume, clamp = by_stop[node]
                yield from self._effects(
                    program, resume, clamp, activations.pop(resume.node), values
                )

    def _effects(
        self, program: Program, resume: Resume, clamp: Clamp, activation: Tensor, values: Values
    ) -> Iterator[Effect]:
        units, samples = clamp.reached(activation).nonzero(as_tuple=True)
        if not len(units):
            return
        size = self._rows_at_once(resume)
        for chosen, rows in zip(torch.split(units, size), torch.split(samples, size), strict=True):
            taken = Rows(clamp.channels[chosen], rows, clamp.values[chosen])
            output = program.finish(resume.ablated(values, activation, taken), resume.stop)
            yield Effect(clamp.table_rows[chosen], rows, self._network.logits(output))

    def _in_whole_passes(self, inputs: Tensor, clamp: Clamp) -> Iterator[Effect]:
        layer, samples = clamp.layer, torch.arange(len(inputs), device=inputs.device)
        _, kept = self._network.capture(inputs, [layer], lambda _, a: clamp.reached(a).any(dim=1))
        for number in range(len(clamp.channels)):
            if kept[layer.name][number]:
                channels, values, table_rows = (
                    column[number].expand(len(inputs))
                    for column in (clamp.channels, clamp.values, clamp.table_rows)
                )
                edit = _clamping(layer, Rows(channels, samples, values))
                logits = self._network.forward_with(inputs, {layer.name: edit})
                yield Effect(table_rows, samples, logits)

    def together(
        self, inputs: Tensor, count: int, edit: VariantEdit
    ) -> Iterator[tuple[slice, Tensor]]:
        """Run `count` variants of the network, each with edits in all the engine's layers.

        Parameters
        ----------
        inputs
            One batch.
        count
            Number of variants.
        edit
            Function of a layer, its activations (variants or 1, samples, ...) and the slice of
            variants, that returns new activations (variants, samples, ...).

        Yields
        ------
        A slice of variants and their logits (variants, samples, ...), until all are done.
        """
        program, resume = self._network.program, self._resume(self._layers[0], single=False)
        if program is None or resume is None:
            for number in range(count):
                variant = slice(number, number + 1)
                edits = {layer.name: _editing(edit, layer, variant) for layer in self._layers}
                yield variant, self._network.forward_with(inputs, edits).unsqueeze(0)
            return
        size = max(1, self._rows_at_once(resume) // len(inputs))
        for _, values in program.pauses(inputs, [resume.stop]):
            for start in range(0, count, size):
                variants = slice(start, min(start + size, count))
                yield variants, self._variants(program, resume, values, variants, edit)

    def _variants(
        self, program: Program, resume: Resume, values: Values, variants: slice, edit: VariantEdit
    ) -> Tensor:
        number, activation = variants.stop - variants.start, values[resume.stop]
        samples = torch.arange(len(activation), device=activation.device)
        folded = resume.folded(values, samples.repeat(number))
        folded[resume.stop] = edit(resume.layer, activation.unsqueeze(0), variants).flatten(0, 1)
        edits = {
            self._network.nodes[layer.name]: _editing(edit, layer, variants)
            for layer in self._layers[1:]
        }
        output = program.finish(folded, resume.stop, edits)
        logits = self._network.logits(output)
        return logits.reshape(number, len(samples), *logits.shape[1:])

    def _rows_at_once(self, resume: Resume) -> int:
        allowed = min(self._budget, CPU_WORKING_SET) if self._on_cpu else self._budget
        return max(1, int(allowed // resume.sample_bytes))

    def _resume(self, layer: UnitLayer, *, single: bool) -> Resume | None:
        """Return the fastest way to resume from a layer that agrees with whole passes."""
        key = (layer.name, single)
        if key not in self._resumes:
            ways = [
                resume_from(self._network, layer, single=way)
                for way in dict.fromkeys((single, False))
            ]
            right = (way for way in ways if way is not None and self._agrees(way))
            self._resumes[key] = next(right, None)
            if self._resumes[key] is None and self._network.layers.traced:
                logger.info(
                    "'%s': no pass can be resumed from here; whole passes are run", layer.name
                )
        return self._resumes[key]

    def _agrees(self, resume: Resume) -> bool:
        """Compare, on the example, a resumed pass with whole passes."""
        inputs, layer, program = self._example, resume.layer, self._network.program
        channels = torch.tensor([0, layer.units - 1], device=inputs.device)
        _, kept = self._network.capture(inputs, [layer], lambda _, a: a.amax() + 1)
        clamp = Clamp(layer, channels, kept[layer.name].expand(2), channels)
        expected = torch.cat([effect.logits for effect in self._in_whole_passes(inputs, clamp)])
        try:
            resumed = [e.logits for e in self._resumed(program, inputs, [(resume, clamp)])]  # type: ignore[arg-type]
        except (RuntimeError, ValueError, TypeError, IndexError):  # sizes that do not fit
            return False
        return _close(torch.cat(resumed), expected)


def _clamping(layer: UnitLayer, rows: Rows) -> Edit:
    def clamp(activation: Tensor) -> Tensor:
        clamp_units(activation, layer, rows)
        return activation

    return clamp


def _editing(edit: VariantEdit, layer: UnitLayer, variants: slice) -> Edit:
    def apply(activation: Tensor) -> Tensor:
        split = activation.reshape(variants.stop - variants.start, -1, *activation.shape[1:])
        return edit(layer, split, variants).flatten(0, 1)

    return apply


def _close(one: Tensor, other: Tensor) -> bool:
    """Tell whether logits agree within what rounding in another order explains."""
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    scale = float(other.abs().nan_to_num(posinf=0.0).amax())
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
