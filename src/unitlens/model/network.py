"""A network whose units can be read and replaced."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, fx, nn

from unitlens.errors import (
    ArgumentError,
    ModelError,
)
from unitlens.model.graph import (
    Edit,
    Program,
    first_tensor,
    same_storage,
    trace,
)
from unitlens.model.hooked import HookedNetwork
from unitlens.model.layers import (
    UnitLayer,
    UnitLayers,
    layers_of_calls,
    layers_of_program,
)
from unitlens.model.memory_watch import PassMemory
from unitlens.model.observation import Observation, observe
from unitlens.model.precision import close
from unitlens.model.restore import borrowed
from unitlens.model.rewriting import simplify

logger = logging.getLogger("unitlens")
Kept = TypeVar("Kept")


def unit_layers(model: nn.Module, example: Tensor) -> UnitLayers:
    """Find where the units of a model live.

    Every output of a nonlinearity is a layer of units, functional calls and repeated uses of one
    module included; what the model puts out is not. Layers bear the names that
    ``torchvision.models.feature_extraction`` gives to graph nodes. A model that cannot be traced
    has its activation modules found by hooks and named by module; a log line says so.

    Parameters
    ----------
    model
        Any module that takes one tensor; it comes back as it was.
    example
        One batch of its inputs, of at least one sample.

    Returns
    -------
    The layers in the order of the forward pass. Units lie on axis 1 of an activation of two, four
    or more dimensions and on the last of three, unless the nearest weighted operation before says
    otherwise (a dense layer or layer norm: last; a convolution or batch norm: 1).

    Raises
    ------
    ArgumentError
        Where `example` is empty.
    ModelError
        Where the model cannot be run on the example.
    """
    with UnitNetwork(model, example) as network:
        return network.layers


class UnitNetwork:
    """A model, borrowed: its units can be read and replaced during a forward pass.

    On entering, the model is in eval mode, on `device` if one is given, and torch in inference
    mode; on leaving, the model is exactly as it was.

    Parameters
    ----------
    model
        Any module that takes one tensor. If it puts out a container, the logits are its entry or
        attribute ``logits`` or ``out``, else its first tensor.
    example
        One batch of its inputs.
    device
        Where to work; where the model is, if None.
    dtype
        What to work in; the model's own type if None.
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
        What is known of the values of the program's nodes; None without a program.
    memory
        Bytes that each sample takes in a pass.
    converted_bytes
        Bytes of the parameters that were brought to another type.
    model
        The model itself.
    device, dtype
        Those of the network's parameters, to which inputs are brought.
    """

    layers: UnitLayers
    device: torch.device
    dtype: torch.dtype
    program: Program | None
    nodes: dict[str, fx.Node]
    observation: Observation | None
    memory: PassMemory
    converted_bytes: int

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        simplified: bool = False,
    ) -> None:
        if example.dim() == 0 or len(example) == 0:
            raise ArgumentError(
                f"example has shape {tuple(example.shape)}, but must be a batch of at least one "
                "input"
            )
        self.model, self._example, self._device = model, example, device
        self._dtype, self._simplified = dtype, simplified
        self._stack = ExitStack()
        self._hooked: HookedNetwork | None = None

    def __enter__(self) -> Self:
        own = {parameter: parameter.dtype for parameter in self.model.parameters()}
        with ExitStack() as stack:
            stack.enter_context(borrowed(self.model, self._device, self._dtype))
            stack.enter_context(torch.inference_mode())
            self.converted_bytes = sum(p.nbytes for p, dtype in own.items() if p.dtype != dtype)
            self._prepare()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def capture(
        self,
        inputs: Tensor,
        layers: Sequence[UnitLayer],
        transform: Callable[[UnitLayer, Tensor], Kept],
    ) -> tuple[Tensor, dict[str, Kept]]:
        """Run the network and keep something of the activations of `layers`.

        Parameters
        ----------
        inputs
            One batch.
        layers
            Layers to read.
        transform
            What to keep, from the layer and its activation (samples, ...). It is called inside
            the pass, before an operation that works in place can change the activation.

        Returns
        -------
        The logits, and what was kept for each layer's name.
        """
        kept: dict[str, Kept] = {}

        def keeper(layer: UnitLayer) -> Edit:
            def keep(activation: Tensor) -> Tensor:
                result: Any = transform(layer, activation)
                kept[layer.name] = result.clone() if same_storage(result, activation) else result
                return activation

            return keep

        return self.forward_with(inputs, {layer.name: keeper(layer) for layer in layers}), kept

    def forward_with(self, inputs: Tensor, edits: Mapping[str, Edit]) -> Tensor:
        """Run the network with the activations of some layers replaced.

        Parameters
        ----------
        inputs
            One batch.
        edits
            For a layer's name, a function of its activation that returns what stands in for it.
            It may change the activation in place.

        Returns
        -------
        The logits.
        """
        inputs = self.ready(inputs)
        if self.program is not None:
            by_node = {self.nodes[name]: edit for name, edit in edits.items()}
            return self.logits(self.program.run(inputs, by_node))
        assert self._hooked is not None  # noqa: S101  one of the two is always there
        return self.logits(self._hooked.run(inputs, edits))

    def ready(self, inputs: Tensor) -> Tensor:
        """Bring inputs to the network's device and, if they are real numbers, to its dtype."""
        return inputs.to(self.device, self.dtype if inputs.is_floating_point() else None)

    def logits(self, output: Any) -> Tensor:
        """Return the logits of what the model puts out."""
        found = first_tensor(output)
        if not isinstance(found, Tensor):
            raise ModelError(
                f"the model puts out {type(output).__name__}, but must put out a tensor"
            )
        return found

    def _prepare(self) -> None:
        weights = [p for p in self.model.parameters() if p.is_floating_point()]
        self.dtype = weights[0].dtype if weights else self._dtype or torch.get_default_dtype()
        self.device = weights[0].device if weights else torch.device(self._device or "cpu")
        with torch.inference_mode(mode=False), torch.no_grad():
            rows = torch.arange(3, device=self._example.device) % len(self._example)
            example = self.ready(self._example[rows])
            expected = self._expected(example)
            reason = ""
            for simplified in dict.fromkeys((self._simplified, False)):
                self.program, self.observation, reason = _traced(
                    self.model, example, expected, simplified=simplified
                )
                if self.program is not None:
                    break
            if self.program is not None and self.observation is not None:
                layers = layers_of_program(self.program, self.observation)
                self.nodes = {layer.name: node for layer, node in layers}
                self.layers = UnitLayers([layer for layer, _ in layers])
                self.memory = self.observation.memory
                return
            logger.info("the model cannot be traced (%s); its units are named by module", reason)
            self.nodes = {}
            self._hooked = HookedNetwork(self.model)
            two, on_two = self._hooked.calls(example[:2])
            three, on_three = self._hooked.calls(example)
            self.memory = PassMemory.between(on_two, on_three)
            self.layers = UnitLayers(layers_of_calls(two, three), traced=False, reason=reason)

    def _expected(self, example: Tensor) -> Tensor:
        try:
            return self.logits(self.model(example.clone()))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ModelError(
                f"the model cannot be run on inputs of shape {tuple(example.shape)}: "
                f"{_first_line(error)}"
            ) from error


def _traced(
    model: nn.Module, example: Tensor, expected: Tensor, *, simplified: bool
) -> tuple[Program | None, Observation | None, str]:
    """Trace, and check on the example that the graph does what the model does."""
    try:
        with borrowed(model):  # tracing may leave attributes behind
            program = trace(model)
        observation = observe(program, example)
        if simplified:
            simplify(program, observation)
        logits = first_tensor(program.run(example))
    except Exception as error:  # noqa: BLE001  a user's forward may raise anything on proxies
        return None, None, _first_line(error)
    if not isinstance(logits, Tensor) or not close(logits, expected):
        return None, None, "its graph gives other numbers than the model itself"
    return program, observation, ""


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]
