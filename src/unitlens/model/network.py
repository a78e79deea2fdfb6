"""Layers of units of any model, and forward passes that read or replace activations."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, fx, nn

from unitlens.errors import ArgumentError, ModelError, first_line
from unitlens.model.calling import bound_arguments, call_model, check_call
from unitlens.model.graph import Edit, Program, same_storage, trace
from unitlens.model.hooked import HookedNetwork
from unitlens.model.inputs import (
    AnyInputs,
    Inputs,
    describe_inputs,
    make_inputs,
    tensors_in,
)
from unitlens.model.layers import UnitLayer, UnitLayers, layers_of_calls, layers_of_program
from unitlens.model.memory_watch import PassMemory
from unitlens.model.observation import Observation, observe
from unitlens.model.outputs import OutputReader
from unitlens.model.precision import outputs_agree
from unitlens.model.restore import restored_afterwards
from unitlens.model.rewriting import simplify

logger = logging.getLogger("unitlens")
Captured = TypeVar("Captured")
BatchType = TypeVar("BatchType", Tensor, Inputs, Tensor | Inputs)


def unit_layers(model: nn.Module, example: Any) -> UnitLayers:
    """Find the layers of units of a model.

    A layer of units is the output of a nonlinearity; functional calls and repeated calls of one
    module count as well. The output of the model is no layer. Layers have the names that
    ``torchvision.models.feature_extraction`` gives to graph nodes. In a model that cannot be
    traced, layers are the calls of its activation modules, with the names of these modules; a log
    line says so.

    Parameters
    ----------
    model
        Any module. Its mode, hooks, buffers and device are as before afterwards.
    example
        One batch of inputs of at least one sample: a tensor (samples, ...); or a tuple or
        dictionary of such tensors, which are the positional or keyword arguments of ``forward``,
        or its one argument where it takes only one.

    Returns
    -------
    :class:`UnitLayers`, a sequence of :class:`UnitLayer` in the order of the forward pass. A layer
    has a `name`, a `depth` from 0, the number of its `units`, and the `shape` of the activation of
    one sample.

    Units lie on axis 1 of an activation (samples, ...) of two, four or more dimensions, and on the
    last axis of three dimensions, unless the nearest weighted operation before it says otherwise: a
    dense layer or layer norm has channels last, a convolution or batch norm has channels on axis 1.

    Raises
    ------
    ArgumentError
        Where `example` is empty, or its tensors differ in the number of samples.
    ModelError
        Where the model cannot be run on `example`, or its output holds no tensor.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(
    ...     nn.Conv2d(1, 8, 3),
    ...     nn.ReLU(),
    ...     nn.Flatten(),
    ...     nn.Linear(288, 5),
    ...     nn.Tanh(),
    ...     nn.Linear(5, 2),
    ... )
    >>> layers = unit_layers(model, torch.zeros(1, 1, 8, 8))
    >>> layers
    depth  layer  units  shape
        0  1          8  8 x 6 x 6
        1  4          5  5
    2 layers, 13 units, named by graph nodes
    >>> layers[0].name, layers[0].positions
    ('1', 36)
    """
    with UnitNetwork(model, example) as network:
        return network.layers


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
    layers
        The layers of units.
    program
        The traced forward pass; None where the model cannot be traced.
    nodes
        Node of the program for each layer's name.
    observation
        The values of the program's nodes on two and three samples; None without a program.
    memory
        Bytes of each sample in a pass.
    converted_bytes
        Bytes of the parameters that were converted to another dtype.
    model
        The model itself.
    output
        Reads the logits from the model's output; may be replaced inside the context.
    example_output
        What the model puts out for three samples.
    device
        Device of the parameters; inputs are moved to it.
    dtype
        Dtype of the parameters; floating-point inputs are converted to it.
    """

    layers: UnitLayers
    device: torch.device
    dtype: torch.dtype
    program: Program | None
    nodes: dict[str, fx.Node]
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
        self.output = OutputReader()
        self.model, self._example, self._device = model, example, device
        self._dtype, self._simplified = dtype, simplified
        self._stack = ExitStack()
        self._hooked: HookedNetwork | None = None

    def __enter__(self) -> Self:
        own = {parameter: parameter.dtype for parameter in self.model.parameters()}
        with ExitStack() as stack:
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
        return self.forward_with(inputs, edits), captured

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
        inputs = self.ready(inputs)
        if self.program is not None:
            by_node = {self.nodes[name]: edit for name, edit in edits.items()}
            return self.logits(self.program.run(inputs, by_node))
        assert self._hooked is not None  # noqa: S101  always so without a program
        return self.logits(self._hooked.run(inputs, edits))

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
            rows = torch.arange(3, device=self._example.device) % len(self._example)
            example = self.ready(self._example[rows])
            reason = self._trace(example)
            if reason:
                self._hook(example, reason)

    def _trace(self, example: AnyInputs) -> str:
        """Trace the model; return the reason why that is impossible, empty where it is traced."""
        expected, reason = self._run_model(example), ""
        self.example_output = expected
        for simplified in dict.fromkeys((self._simplified, False)):
            self.program, self.observation, reason = _traced(
                self.model, example, expected, simplified=simplified
            )
            if self.program is not None and self.observation is not None:
                layers = layers_of_program(self.program, self.observation)
                self.nodes = {layer.name: node for layer, node in layers}
                self.layers = UnitLayers([layer for layer, _ in layers])
                self.memory = self.observation.memory
                return ""
        return reason

    def _hook(self, example: AnyInputs, reason: str) -> None:
        logger.info("the model cannot be traced (%s); its units are named by module", reason)
        self.nodes = {}
        self._hooked = HookedNetwork(self.model)
        two, memory_of_two = self._hooked.calls(example[:2])
        three, memory_of_three = self._hooked.calls(example)
        self.memory = PassMemory.between(memory_of_two, memory_of_three)
        self.layers = UnitLayers(layers_of_calls(two, three), traced=False, reason=reason)

    def _run_model(self, example: AnyInputs) -> Any:
        check_call(self.model, example)
        try:
            output = call_model(self.model, example.clone())
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ModelError(
                f"the model cannot be run on inputs of shape {describe_inputs(example)}: "
                f"{first_line(error)}; give an example as the model takes it"
            ) from error
        if not _tensors(output):
            raise ModelError(
                f"the model puts out {type(output).__name__}, but must put out a tensor"
            )
        return output


def _tensors(output: Any) -> list[Tensor]:
    return tensors_in(dict(output) if isinstance(output, Mapping) else output)


def _same_outputs(output: Any, expected: Any) -> bool:
    """Tell whether all tensors of two outputs agree."""
    ours, theirs = _tensors(output), _tensors(expected)
    return len(ours) == len(theirs) and all(map(outputs_agree, ours, theirs))


def _traced(
    model: nn.Module, example: AnyInputs, expected: Any, *, simplified: bool
) -> tuple[Program | None, Observation | None, str]:
    """Trace a model, and check on the example that the graph computes what the model does.

    Returns
    -------
    The program and its observation; or None twice, and the reason why the model cannot be traced.
    """
    try:
        with restored_afterwards(model):  # tracing may add attributes to modules
            given = bound_arguments(model, example) if isinstance(example, Inputs) else None
            program = trace(model, given)
        observation = observe(program, example)
        if simplified:
            simplify(program, observation)
        output = program.run(example)
    except Exception as error:  # noqa: BLE001  a user's forward may raise anything on proxies
        return None, None, first_line(error)
    if not _same_outputs(output, expected):
        return None, None, "its graph gives other numbers than the model itself"
    return program, observation, ""
