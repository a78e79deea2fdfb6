"""Layers of units of any model, and forward passes that read or replace activations."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, fx, nn

from unitlens.errors import ArgumentError, ModelError
from unitlens.model.call_watch import OtherCalls
from unitlens.model.calling import call_model, check_call
from unitlens.model.checked_trace import checked_trace, equal_randomness, output_tensors
from unitlens.model.graph import Edit, Program, same_storage
from unitlens.model.hooked import HookedNetwork
from unitlens.model.inputs import (
    AnyInputs,
    Inputs,
    describe_inputs,
    make_inputs,
)
from unitlens.model.layers import LayersChosen, UnitLayer, UnitLayers, is_by_name
from unitlens.model.memory_watch import PassMemory
from unitlens.model.observation import Observation
from unitlens.model.open_layers import OpenLayers
from unitlens.model.outputs import OutputReader
from unitlens.model.restore import restored_afterwards
from unitlens.model.user_forward import noting_failure, user_forward
from unitlens.model.wrapped_modules import plain_modules, unwrap

logger = logging.getLogger("unitlens")
Captured = TypeVar("Captured")
BatchType = TypeVar("BatchType", Tensor, Inputs, Tensor | Inputs)


class UnitNetwork:
    """A context in which the activations of a model can be read and replaced.

    Inside the context the model is in eval mode, on `device` and in `dtype` where these are given,
    and torch is in inference mode. After the context the model is exactly as before.

    Parameters
    ----------
    model
        Any module.
    example
        One batch of inputs: a tensor, or a structure of tensors (:mod:`unitlens.model.inputs`).
    device
        Device to compute on; that of the model if None.
    dtype
        Dtype to compute in; that of the model if None.
    simplified
        Whether the forward pass may be rewritten to do the same with less work; see
        :func:`~unitlens.model.rewriting.simplify`.

    Attributes
    ----------
    program
        The traced forward pass; None where the model cannot be traced.
    observation
        The values of the program's nodes on two and three samples; None without a program.
    memory
        Bytes of each sample in a pass.
    converted_bytes
        Bytes of the parameters that were converted to another dtype.
    model
        The model itself, without wrappers.
    output
        Reads the logits from the model's output; see :meth:`read_output`.
    example_output
        What the model puts out for three samples.
    doubts
        What the batches that ran so far have shown to be doubtful, in words.
    device
        Device of the parameters; inputs are moved to it.
    dtype
        Dtype of the parameters; floating-point inputs are converted to it.
    """

    device: torch.device
    dtype: torch.dtype
    program: Program | None
    observation: Observation | None
    memory: PassMemory
    converted_bytes: int
    example_output: Any

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        simplified: bool = False,
    ) -> None:
        example = make_inputs(example)
        if (isinstance(example, Tensor) and example.dim() == 0) or len(example) == 0:
            raise ArgumentError(
                f"example has shape {describe_inputs(example)}, but must be a batch of at least "
                "one input"
            )
        self.output = self._leading = OutputReader()
        self.doubts: list[str] = []
        self.model, self._example, self._device = unwrap(model), example, device
        self._dtype, self._simplified = dtype, simplified
        self._stack = ExitStack()
        self._hooked: HookedNetwork | None = None
        self._others: OtherCalls | None = None

    @property
    def layers(self) -> UnitLayers:
        """The layers of units that were found."""
        return self._open.layers

    @property
    def nodes(self) -> dict[str, fx.Node]:
        """Node of the program for each layer's name, declared layers included."""
        return self._open.nodes

    def __enter__(self) -> Self:
        own = {parameter: parameter.dtype for parameter in self.model.parameters()}
        with ExitStack() as stack:
            stack.enter_context(plain_modules(self.model))
            stack.enter_context(restored_afterwards(self.model, self._device, self._dtype))
            stack.enter_context(torch.inference_mode())
            self.converted_bytes = sum(p.nbytes for p, dtype in own.items() if p.dtype != dtype)
            self._prepare()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def capture(
        self,
        inputs: AnyInputs,
        layers: Sequence[UnitLayer],
        transform: Callable[[UnitLayer, Tensor], Captured],
        *,
        partly: bool = False,
    ) -> tuple[Tensor, dict[str, Captured]]:
        """Run the network and capture a function of the activation of each of some layers.

        Parameters
        ----------
        inputs
            One batch.
        layers
            Layers to read.
        transform
            Function of a layer and its activation (samples, ...) that returns the value to capture.
            It is called inside the pass, before an operation in place can change the activation.
        partly
            Whether layers that do not run on this batch are left out; else they are an error.

        Returns
        -------
        The logits, and the captured value for each layer's name.
        """
        captured: dict[str, Captured] = {}

        def make_edit(layer: UnitLayer) -> Edit:
            def capture(activation: Tensor) -> Tensor:
                value: Any = transform(layer, activation)
                captured[layer.name] = value.clone() if same_storage(value, activation) else value
                return activation

            return capture

        edits = {layer.name: make_edit(layer) for layer in layers}
        logits = self._forward(inputs, edits, perturbed=False)
        for name in edits:
            if name not in captured and not partly:
                raise ModelError(
                    f"layer '{name}' does not run on every batch, but must run on each to be "
                    "measured; name the other layers"
                )
        return logits, captured

    def forward_with(self, inputs: AnyInputs, edits: Mapping[str, Edit]) -> Tensor:
        """Run the network with the activations of some layers replaced.

        Parameters
        ----------
        inputs
            One batch.
        edits
            For a layer's name, a function of its activation that returns the replacement. It may
            change the activation in place.

        Returns
        -------
        The logits.
        """
        return self._forward(inputs, edits, perturbed=bool(edits))

    def _forward(self, inputs: AnyInputs, edits: Mapping[str, Edit], *, perturbed: bool) -> Tensor:
        inputs, failed = self.ready(inputs), list[Exception]()
        others = None if perturbed else self._others
        watch = None if others is None else others.watch()
        noted = {name: noting_failure(edit, failed) for name, edit in edits.items()}
        with user_forward(self.model, inputs, failed):
            if self.program is not None:
                by_node = {self.nodes[name]: edit for name, edit in noted.items()}
                output = self.program.run(inputs, by_node)
            else:
                assert self._hooked is not None  # noqa: S101  always so without a program
                by_call = self._open.call_edits(noted, len(inputs))
                output = self._hooked.run(inputs, by_call, watch)
        logits = self.logits(output)
        if others is not None and watch is not None:
            others.tell(watch, inputs, lambda some: self.forward_with(some, {}))
        return logits

    def choose(self, choice: LayersChosen) -> tuple[UnitLayer, ...]:
        """Choose among the layers of units, and declare others.

        A warning tells what was left out of the layers, where they are not chosen by name.

        Parameters
        ----------
        choice
            Names or patterns of layers, of modules or of graph nodes, or declarations of them; a
            number of last layers; or None for all layers that were found.

        Returns
        -------
        The layers in the order of the forward pass.

        Raises
        ------
        LayerError, ArgumentError
            As :func:`~unitlens.model.layers.choose_layers`; or where a declared layer has no such
            axis or no axis of samples.
        """
        if self._others is not None:
            self._others.by_name = is_by_name(choice)
        if self._simplified and self._open.declares(choice):
            self._simplified = False  # a simplified program lacks the values of some modules
            with torch.inference_mode(mode=False), torch.no_grad():
                self._trace(self._samples(3))
        return self._open.choose(choice)

    def find_other_calls(self, batch: Any) -> None:
        """Run a batch, so that layers that it runs, and the example does not, count as left out."""
        if self._others is not None:
            self._others.by_name = True  # they are told with all others that are left out
            inputs = make_inputs(batch)
            for some in (inputs, inputs[-max(2, len(inputs) // 4) :]):
                self.forward_with(some, {})

    def warn_of_left_out(self) -> None:
        """Warn of the units that are not among the layers that were found."""
        self._open.warn_of_left_out()

    def ready(self, inputs: BatchType) -> BatchType:
        """Move inputs to the network's device, and convert floating-point inputs to its dtype."""
        if isinstance(inputs, Inputs):
            return inputs.to(self.device, self.dtype)
        return inputs.to(self.device, self.dtype if inputs.is_floating_point() else None)

    def logits(self, output: Any) -> Tensor:
        """Return the logits of the model's output.

        Raises
        ------
        ModelError
            Where the output holds no tensor, or several that could be meant.
        """
        return self.output(output)

    def read_output(self, reader: OutputReader) -> None:
        """Read the logits by another reader, and find the layers on the way to these logits.

        Layers are to be chosen afterwards. Where the reader chooses nothing, or its choice is no
        single node of the network, the layers stay, or are those on the way to any output.
        """
        self.output, chosen = reader, OutputReader(reader.choice)
        if chosen.choice is None or self._open.lead_to(chosen):
            return
        self._leading = chosen
        with torch.inference_mode(mode=False), torch.no_grad():
            self._find(self._samples(3))

    @property
    def logits_node(self) -> fx.Node | None:
        """The node of the program that returns the logits; None where no single node does."""
        return None if self.program is None else self.output.node(self.program.output.args[0])

    def _prepare(self) -> None:
        """Trace the model, or hook it where it cannot be traced, and find its layers."""
        weights = [p for p in self.model.parameters() if p.is_floating_point()]
        self.dtype = weights[0].dtype if weights else self._dtype or torch.get_default_dtype()
        self.device = weights[0].device if weights else torch.device(self._device or "cpu")
        with torch.inference_mode(mode=False), torch.no_grad():
            self._find(self._samples(3))

    def _find(self, example: AnyInputs) -> None:
        if reason := self._trace(example):
            self._hook(example, reason)

    def _trace(self, example: AnyInputs) -> str:
        """Trace the model; return the reason why that is impossible, empty where it is traced."""
        with equal_randomness(self.device):
            expected, reason = self._run_model(example), ""
        self.example_output = expected
        for simplified in dict.fromkeys((self._simplified, False)):
            self.program, self.observation, reason = checked_trace(
                self.model, example, expected, simplified=simplified
            )
            if self.program is not None and self.observation is not None:
                self.memory, self._simplified = self.observation.memory, simplified
                two, three = self.observation.two, self.observation.three
                self._open = OpenLayers(
                    self.model, self.program, two, three, self._value_of, self.observation,
                    reader=self._leading,
                )  # fmt: skip
                return ""
        return reason

    def _hook(self, example: AnyInputs, reason: str) -> None:
        logger.info("the model cannot be traced (%s); its calls are followed as they run", reason)
        self._simplified = False
        self._hooked = HookedNetwork(self.model)
        two, memory_of_two = self._hooked.record(example[:2])
        three, memory_of_three = self._hooked.record(example)
        self.memory = PassMemory.between(memory_of_two, memory_of_three)
        by_name = {three.names[node]: value for node, value in three.values.items()}
        of_three = {n: by_name[name] for n, name in two.names.items() if name in by_name}
        self._names = two.names
        self._open = OpenLayers(
            self.model, two, two.values, of_three, self._value_of,
            reader=self._leading, reason=reason,
        )  # fmt: skip
        self._others = OtherCalls(
            example, (two.seen, three.seen), self._open.layers.left_out, self.doubts
        )

    def _value_of(self, node: fx.Node, count: int) -> Tensor | None:
        """Return the value of a node on two or three samples, None where it does not run."""
        kept: list[Tensor] = []

        def keep(value: Tensor) -> Tensor:
            kept.append(value.clone())
            return value

        if self.program is not None:
            self.program.run(self._samples(count), {node: keep})
        elif self._hooked is not None:
            self._hooked.run(self._samples(count), {self._names[node]: keep})
        return kept[0] if kept else None

    def _samples(self, count: int) -> AnyInputs:
        """Return some samples of the example, repeated where it has fewer."""
        rows = torch.arange(count, device=self._example.device) % len(self._example)
        some: AnyInputs = self._example[rows]
        return self.ready(some)

    def _run_model(self, example: AnyInputs) -> Any:
        check_call(self.model, example)
        with user_forward(self.model, example):
            output = call_model(self.model, example.clone())
        if not output_tensors(output):
            raise ModelError(
                f"the model puts out {type(output).__name__}, but must put out a tensor"
            )
        return output
