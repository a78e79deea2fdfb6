"""Layers of units of any model, and forward passes that read or replace activations."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from unitlens.config.base import DeclaredLayer, LastLayers
from unitlens.errors import ArgumentError, LayerError, ModelError, UnitsWarning, first_line
from unitlens.model.call_graph import CallGraph
from unitlens.model.declared import declared_layer, matching, named_values, resolve
from unitlens.model.finding import FoundLayer, Values, find_layers
from unitlens.model.graph import Edit, Program, find_logits, same_storage, trace
from unitlens.model.hooked import HookedNetwork
from unitlens.model.layers import UnitLayer, UnitLayers, choose_layers, listed
from unitlens.model.memory_watch import PassMemory
from unitlens.model.observation import Observation, add_value, observe
from unitlens.model.precision import outputs_agree
from unitlens.model.restore import restored_afterwards
from unitlens.model.rewriting import simplify
from unitlens.model.unit_view import PLAIN

logger = logging.getLogger("unitlens")
Captured = TypeVar("Captured")
# A choice of layers: names, patterns and declarations; a number of last layers; None for all.
LayersChosen = Sequence[str | DeclaredLayer] | int | LastLayers | None


class UnitNetwork:
    """A context in which the activations of a model can be read and replaced.

    Inside the context the model is in eval mode, on `device` and in `dtype` where these are given,
    and torch is in inference mode. After the context the model is exactly as before.

    Parameters
    ----------
    model
        Any module that takes one tensor. Where its output is a container, the logits are the entry
        or attribute ``logits`` or ``out``, else the first tensor.
    example
        One batch of inputs.
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
        The layers of units that were found.
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
        self._found: dict[str, FoundLayer] = {}
        self._declared: dict[str, DeclaredLayer] = {}

    def __enter__(self) -> Self:
        _check_weights(self.model)
        own = {parameter: parameter.dtype for parameter in self.model.parameters()}
        with ExitStack() as stack:
            stack.enter_context(_seen_operations())
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
        inputs: Tensor,
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

    def forward_with(self, inputs: Tensor, edits: Mapping[str, Edit]) -> Tensor:
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
        by_call: dict[str, Edit] = {}
        for found in map(self._found.__getitem__, edits):
            edit = _arranged_edit(found, edits[found.layer.name])
            call = self._calls[found.layer.name]
            by_call[call] = _in_turn(by_call[call], edit) if call in by_call else edit
        return self.logits(self._hooked.run(inputs, by_call))

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
        if choice is None or isinstance(choice, int | LastLayers):
            chosen = choose_layers(self.layers, choice)
            self.warn_of_left_out()
            return chosen
        entries = [choice] if isinstance(choice, str | DeclaredLayer) else list(choice)
        if not entries:
            return choose_layers(self.layers, ())
        names = [layer.name for layer in self.layers]
        chosen_names: dict[str, None] = {}
        for entry in entries:
            known = matching(entry, names) if isinstance(entry, str) else []
            declared = entry if isinstance(entry, DeclaredLayer) else DeclaredLayer(name=entry)
            chosen_names |= dict.fromkeys(known or self._declare(declared))
        position = self._graph.position
        ordered = sorted(chosen_names, key=lambda name: position(self._found[name].node))
        return tuple(self._found[name].layer for name in ordered)

    def warn_of_left_out(self) -> None:
        """Warn of the units that are not among the layers."""
        if self.layers.left_out:
            reasons = listed(self.layers.reasons(), most=3)
            warnings.warn(
                f"the layers of units lack {reasons}; unit_layers(model, example).left_out has all "
                "names, and layers=[...] takes any module or graph node by name",
                UnitsWarning,
                stacklevel=_frames_of_package(),
            )

    def ready(self, inputs: Tensor) -> Tensor:
        """Move inputs to the network's device, and convert floating-point inputs to its dtype."""
        return inputs.to(self.device, self.dtype if inputs.is_floating_point() else None)

    def logits(self, output: Any) -> Tensor:
        """Return the logits of the model's output.

        Raises
        ------
        ModelError
            Where the output holds no tensor.
        """
        logits = find_logits(output)
        if not isinstance(logits, Tensor):
            raise ModelError(
                f"the model puts out {type(output).__name__}, but must put out a tensor"
            )
        return logits

    def _prepare(self) -> None:
        """Trace the model, or hook it where it cannot be traced, and find its layers."""
        weights = [p for p in self.model.parameters() if p.is_floating_point()]
        self.dtype = weights[0].dtype if weights else self._dtype or torch.get_default_dtype()
        self.device = weights[0].device if weights else torch.device(self._device or "cpu")
        with torch.inference_mode(mode=False), torch.no_grad():
            example = self._three_samples()
            reason = self._trace(example)
            if reason:
                self._hook(example, reason)

    def _trace(self, example: Tensor) -> str:
        """Trace the model; return the reason why that is impossible, empty where it is traced."""
        expected, reason = self._run_model(example), ""
        for simplified in dict.fromkeys((self._simplified, False)):
            self.program, self.observation, reason = _traced(
                self.model, example, expected, simplified=simplified
            )
            if self.program is not None and self.observation is not None:
                self.memory = self.observation.memory
                self.nodes, self._simplified = {}, simplified
                self._find(self.program, self.observation.two, self.observation.three, "")
                return ""
        return reason

    def _hook(self, example: Tensor, reason: str) -> None:
        logger.info("the model cannot be traced (%s); its calls are followed as they run", reason)
        self.nodes = {}
        self._hooked = HookedNetwork(self.model)
        two, memory_of_two = self._hooked.record(example[:2])
        three, memory_of_three = self._hooked.record(example)
        self.memory = PassMemory.between(memory_of_two, memory_of_three)
        by_name = {three.names[node]: value for node, value in three.values.items()}
        names = two.names.items()
        of_three = {node: by_name[name] for node, name in names if name in by_name}
        self._calls: dict[str, str] = {}
        self._find(two, two.values, of_three, reason)

    def _find(self, graph: CallGraph, two: Values, three: Values, reason: str) -> None:
        """Find the layers of units among the calls of a pass."""
        self._graph, self._values = graph, (two, three)
        findings = find_layers(graph, two, three)
        self._targets = named_values(graph, two)
        kept = []
        for found in findings.layers:
            if found.view.rows == 1 or self._rows_by_sample(found):
                kept.append(found)
            else:
                findings.left_out[found.layer.name] = "its rows are not those of one sample each"
        self._found = {}
        for depth, found in enumerate(kept):
            self._add(found.at_depth(depth), graph.names[found.node])
        self.layers = UnitLayers(
            [found.layer for found in self._found.values()],
            traced=not reason,
            reason=reason,
            left_out=findings.left_out,
            modules=self._targets[0],
        )

    def _add(self, found: FoundLayer, call: str) -> None:
        """Add a layer; in a traced network its node is the value with the axes of an activation."""
        name = found.layer.name
        self._found[name] = found
        if self.program is None or self.observation is None:
            self._calls[name] = call
            return
        self.nodes[name] = found.node
        is_other = found.node in [n for other, n in self.nodes.items() if other != name]
        if found.view == PLAIN and not is_other:
            return
        program, node, view = self.program, found.node, found.view
        users = set(node.users)
        arranged = program.insert_behind(node, view.to_units)
        restored = program.insert_behind(arranged, view.from_units)
        node.replace_all_uses_with(restored, lambda user: user in users)
        for overwritten in program.overwrites.values():
            if node in overwritten:
                overwritten.add(restored)
        add_value(self.observation, arranged, view.to_units)
        add_value(self.observation, restored, view.from_units)
        program.relink()
        self.nodes[name] = arranged

    def _declare(self, declared: DeclaredLayer) -> list[str]:
        """Add the layers that a declaration stands for, and return their names."""
        if self.program is not None and self._simplified:
            # A simplified program lacks the values of some modules.
            self._simplified = False
            with torch.inference_mode(mode=False), torch.no_grad():
                self._trace(self._three_samples())
            for other in self._declared.values():
                self._declare(other)
        plain = declared.axis is None and declared.heads is None
        if plain and declared.name in self._found:
            return [declared.name]
        names = resolve(declared, *self._targets)
        for name in names:
            self._declare_one(declared.model_copy(update={"name": name}))
        return names

    def _declare_one(self, declared: DeclaredLayer) -> None:
        name = declared.name
        if self._declared.get(name) == declared and name in self._found:
            return
        if name in self._declared and name in self._found:
            raise LayerError(
                f"layer '{name}' is declared in two ways, but must have one axis and one number of "
                "heads"
            )
        modules, others = self._targets
        node = modules.get(name) or others[name]
        depth = len(self.layers) + self._graph.position(node)
        found = declared_layer(self._graph, node, self._values, declared, depth)
        if found.view.rows > 1 and not self._rows_by_sample(found):
            raise LayerError(
                f"'{name}' cannot be a layer of units: its rows are not those of one sample each"
            )
        self._declared[name] = declared
        self._add(found, name)

    def _rows_by_sample(self, found: FoundLayer) -> bool:
        """Tell whether the rows of a value are those of the first sample, then of the second."""
        kept: list[Tensor] = []

        def keep(value: Tensor) -> Tensor:
            kept.append(value.clone())
            return value

        example = self._three_samples()
        for samples in (example[:2], example):
            if self.program is not None:
                self.program.run(samples, {found.node: keep})
            elif self._hooked is not None:
                self._hooked.run(samples, {self._graph.names[found.node]: keep})
        if len(kept) != 2:
            return False
        two, three = kept
        return outputs_agree(three[: len(two)], two)

    def _three_samples(self) -> Tensor:
        rows = torch.arange(3, device=self._example.device) % len(self._example)
        return self.ready(self._example[rows])

    def _run_model(self, example: Tensor) -> Tensor:
        try:
            return self.logits(self.model(example.clone()))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ModelError(
                f"the model cannot be run on inputs of shape {tuple(example.shape)}: "
                f"{first_line(error)}; give an example as the model takes it"
            ) from error


def _traced(
    model: nn.Module, example: Tensor, expected: Tensor, *, simplified: bool
) -> tuple[Program | None, Observation | None, str]:
    """Trace a model, and check on the example that the graph computes what the model does.

    Returns
    -------
    The program and its observation; or None twice, and the reason why the model cannot be traced.
    """
    try:
        with restored_afterwards(model):  # tracing may add attributes to modules
            program = trace(model)
        observation = observe(program, example)
        if simplified:
            simplify(program, observation)
        logits = find_logits(program.run(example))
    except Exception as error:  # noqa: BLE001  a user's forward may raise anything on proxies
        return None, None, first_line(error)
    if not isinstance(logits, Tensor) or not outputs_agree(logits, expected):
        return None, None, "its graph gives other numbers than the model itself"
    return program, observation, ""


def _arranged_edit(found: FoundLayer, edit: Edit) -> Edit:
    """Return the edit of a value whose axes are not those of an activation."""
    if found.view == PLAIN:
        return edit
    return lambda value: found.view.from_units(edit(found.view.to_units(value)))


def _in_turn(first: Edit, second: Edit) -> Edit:
    return lambda activation: second(first(activation))


def _check_weights(model: nn.Module) -> None:
    """Raise ModelError where the model has no weights to compute with."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ModelError(
                f"the model's '{name}' has no values yet, for its module is lazy; run the model on "
                "a batch once before: model(example)"
            )
        if tensor.is_meta:
            raise ModelError(
                f"the model's '{name}' is on the device meta and has no values; load weights onto "
                "another device before: model.to_empty(device='cpu'), model.load_state_dict(...)"
            )


@contextmanager
def _seen_operations() -> Iterator[None]:
    """Have PyTorch run modules operation by operation, not in fused or compiled ones."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _frames_of_package() -> int:
    """Return the number of frames from a caller up to the first one outside of the package."""
    package = str(Path(__file__).parents[1])
    frame, level = sys._getframe(1), 1  # noqa: SLF001  as the module warnings does
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(package) or "contextlib" in frame.f_code.co_filename
    ):
        frame, level = frame.f_back, level + 1
    return level
