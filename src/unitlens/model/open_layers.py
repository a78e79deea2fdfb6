"""The layers of an open network: those that were found, and those that are declared later."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor, fx, nn

from unitlens.config.base import DeclaredLayer
from unitlens.errors import LayerError, ModelError, UnitsWarning
from unitlens.model.call_graph import CallGraph, is_single_node
from unitlens.model.declared import declared_layer, matching, named_values, resolve
from unitlens.model.finding import FoundLayer, Values, find_layers, logits_node
from unitlens.model.graph import Edit, Program
from unitlens.model.layers import (
    LayersChosen,
    UnitLayer,
    UnitLayers,
    choose_layers,
    is_by_name,
    listed,
)
from unitlens.model.observation import Observation, add_value
from unitlens.model.operations import NONLINEAR_MODULES
from unitlens.model.outputs import OutputReader
from unitlens.model.precision import outputs_agree
from unitlens.model.unit_view import PLAIN

_MIXED_ROWS = "its rows are not those of one sample each"


class OpenLayers:
    """The layers of units of an open network.

    Parameters
    ----------
    model
        The model.
    graph
        The calls of the network: its program where it is traced.
    two, three
        Values of the nodes on two and on three samples, as meta tensors.
    value_of
        Function of a node and of two or three that returns its value on so many samples, None where
        the node did not run.
    observation
        The observation of a program; None for a network that is not traced.
    reader
        What reads the logits from the output, on the way to which the layers lie.
    reason
        Why the network could not be traced.

    Attributes
    ----------
    layers
        The layers that were found.
    nodes
        Node of each layer by name. In a program its value has the axes of an activation.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: CallGraph,
        two: Values,
        three: Values,
        value_of: Callable[[fx.Node, int], Tensor | None],
        observation: Observation | None = None,
        *,
        reader: OutputReader | None = None,
        reason: str = "",
    ) -> None:
        self._graph, self._two, self._three = graph, two, three
        self._value_of, self._observation = value_of, observation
        self._logits = logits_node(graph, reader or OutputReader())
        self._modules, self._others = named_values(graph, two)
        self._found: dict[str, FoundLayer] = {}
        self._declared: dict[str, DeclaredLayer] = {}
        self._calls: dict[str, str] = {}
        self.nodes: dict[str, fx.Node] = {}
        findings = find_layers(graph, two, three, reader)
        for found in findings.layers:
            if found.view.rows > 1 and not self._rows_are_by_sample(found):
                findings.left_out[found.layer.name] = _MIXED_ROWS
            else:
                self._add(found.at_depth(len(self._found)), graph.names[found.node])
        findings.left_out |= dict.fromkeys(
            _uncalled(model, graph), "it does not run on the example"
        )
        self.layers = UnitLayers(
            [found.layer for found in self._found.values()],
            traced=not reason,
            reason=reason,
            left_out=findings.left_out,
            modules=self._modules,
        )

    def choose(self, choice: LayersChosen) -> tuple[UnitLayer, ...]:
        """Choose among the layers, and declare others; see :meth:`UnitNetwork.choose`."""
        if not is_by_name(choice):
            chosen = choose_layers(self.layers, choice)
            self.warn_of_left_out()
            return chosen
        if not (entries := _entries(choice)):
            return choose_layers(self.layers, ())
        names = dict.fromkeys(name for entry in entries for name in self._names_of(entry))
        found = [self._found[name] for name in names]
        found.sort(key=lambda one: self._graph.position(one.node))
        return tuple(one.layer for one in found)

    def lead_to(self, reader: OutputReader) -> bool:
        """Tell whether the layers are those on the way to the logits that a reader reads."""
        return self._logits is logits_node(self._graph, reader)

    def declares(self, choice: LayersChosen) -> bool:
        """Tell whether a choice has other layers than those that were found."""
        return is_by_name(choice) and any(not self._known(entry) for entry in _entries(choice))

    def warn_of_left_out(self) -> None:
        """Warn of the units that are not among the layers that were found."""
        if self.layers.left_out:
            reasons = listed(self.layers.reasons(), most=3)
            warnings.warn(
                f"the layers of units lack {reasons}; unit_layers(model, example).left_out has all "
                "names, and layers=[...] takes any module or graph node by name",
                UnitsWarning,
                stacklevel=_frames_of_package(),
            )

    def call_edits(self, edits: Mapping[str, Edit], samples: int) -> dict[str, Edit]:
        """Return edits of the values of calls, by the name of the call, for a network in hooks.

        Parameters
        ----------
        edits
            Edits of activations, by the name of the layer.
        samples
            Number of samples of the batch.
        """
        by_call: dict[str, Edit] = {}
        for name, edit in edits.items():
            call, of_value = self._calls[name], _edit_of_value(self._found[name], edit, samples)
            by_call[call] = _in_turn(by_call[call], of_value) if call in by_call else of_value
        return by_call

    def _known(self, entry: str | DeclaredLayer) -> list[str]:
        names = [layer.name for layer in self.layers]
        return matching(entry, names) if isinstance(entry, str) else []

    def _names_of(self, entry: str | DeclaredLayer) -> list[str]:
        """Return the names of the layers that an entry of a choice stands for."""
        if known := self._known(entry):
            return known
        declared = entry if isinstance(entry, DeclaredLayer) else DeclaredLayer(name=entry)
        names = resolve(declared, self._modules, self._others)
        for name in names:
            self._declare(declared.model_copy(update={"name": name}))
        return names

    def _declare(self, declared: DeclaredLayer) -> None:
        name = declared.name
        plain = declared.axis is None and declared.heads is None
        before = self._declared.get(name)
        if name in self._found and (plain if before is None else before == declared):
            return
        if before is not None or name in [layer.name for layer in self.layers]:
            raise LayerError(
                f"layer '{name}' is declared in two ways, but must have one axis and one number of "
                "heads"
            )
        node = self._modules[name] if name in self._modules else self._others[name]
        depth = len(self.layers) + self._graph.position(node)
        found = declared_layer(self._graph, node, (self._two, self._three), declared, depth)
        if found.view.rows > 1 and not self._rows_are_by_sample(found):
            raise LayerError(f"'{name}' cannot be a layer of units: {_MIXED_ROWS}")
        self._declared[name] = declared
        self._add(found, name)

    def _add(self, found: FoundLayer, call: str) -> None:
        name, node, view = found.layer.name, found.node, found.view
        is_taken = node in self.nodes.values()
        self._found[name], self._calls[name], self.nodes[name] = found, call, node
        if isinstance(self._graph, Program) and (is_taken or view != PLAIN):
            self.nodes[name] = self._arrange(self._graph, found)

    def _arrange(self, program: Program, found: FoundLayer) -> fx.Node:
        """Insert operations that arrange the axes of a value as an activation's, and back."""
        node, view, users = found.node, found.view, set(found.node.users)
        arranged = program.insert_behind(node, view.to_units)
        restored = program.insert_behind(arranged, view.from_units)
        node.replace_all_uses_with(restored, lambda user: user in users)
        for overwritten in program.overwrites.values():
            if node in overwritten:
                overwritten.add(restored)
        if self._observation is not None:
            add_value(self._observation, arranged, view.to_units)
            add_value(self._observation, restored, view.from_units)
        program.relink()
        return arranged

    def _rows_are_by_sample(self, found: FoundLayer) -> bool:
        """Tell whether the rows of a value are those of the first sample, then of the second."""
        two, three = self._value_of(found.node, 2), self._value_of(found.node, 3)
        if two is None or three is None:
            return False
        return outputs_agree(three[: len(two)], two)


def _entries(choice: Sequence[str | DeclaredLayer] | str) -> list[str | DeclaredLayer]:
    return [choice] if isinstance(choice, str | DeclaredLayer) else list(choice)


def _uncalled(model: nn.Module, graph: CallGraph) -> Iterator[str]:
    """Yield the names of the activation modules in parts of a network that do not run at all."""
    called = [str(node.target) for node in graph.modules]
    for name, module in model.named_modules():
        part = name.rpartition(".")[0]
        if not part or not isinstance(module, NONLINEAR_MODULES) or not is_single_node(module):
            continue
        weighted = any(True for _ in model.get_submodule(part).parameters())
        runs = any(path == name or f"{path}.".startswith(f"{part}.") for path in called)
        if weighted and not runs and not any(f"{part}.".startswith(f"{path}.") for path in called):
            yield name


def _edit_of_value(found: FoundLayer, edit: Edit, samples: int) -> Edit:
    """Return the edit of a value whose axes may not be those of an activation."""
    layer, view = found.layer, found.view

    def of_value(value: Tensor) -> Tensor:
        activation = view.to_units(value)
        if len(activation) != samples:
            raise ModelError(
                f"layer '{layer.name}' has {len(activation)} rows in a batch of {samples} samples, "
                "but must have one for each; name the other layers"
            )
        edited = edit(activation)
        return value if edited is value else view.from_units(edited)

    return of_value


def _in_turn(first: Edit, second: Edit) -> Edit:
    return lambda activation: second(first(activation))


def _frames_of_package() -> int:
    """Return the number of frames from a caller up to the first one outside of the package."""
    package = str(Path(__file__).parents[1])
    frame, level = sys._getframe(1), 1  # noqa: SLF001  as the module warnings does
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(package) or "contextlib" in frame.f_code.co_filename
    ):
        frame, level = frame.f_back, level + 1
    return level
