"""Resumptions: which operations run again behind perturbed layers, and from which values."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor, fx, nn

from unitlens.model.graph import Edit, Program, Values
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer
from unitlens.model.memory_watch import ONEDNN_DTYPES
from unitlens.model.network import UnitNetwork
from unitlens.model.observation import BatchAxisError, SampleGather
from unitlens.model.operations import function_name, is_nonlinear_function, is_weighted
from unitlens.model.rewriting import is_patched
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.readers import LayerReader, PerturbedPairs, find_readers

EDIT_COPIES = 4  # copies of an activation while all of it is edited


@dataclass(frozen=True)
class Resumption:
    """How a pass goes on from perturbed layers, with any samples as the rows of a batch.

    Attributes
    ----------
    layers
        The perturbed layers by node.
    explicit
        Nodes of layers that depend on no other perturbed layer and whose perturbed values are read
        by other operations than `readers`.
    readers
        Operations whose output is updated instead of being computed again.
    steps
        Operations that run again, in order, each with the nodes that nothing reads after it.
    gathers
        For each value that does not depend on the layers but is read again, the function that
        gathers it by samples.
    needs
        Nodes whose values of the unperturbed pass are needed.
    ready
        Index of the node after which these values are all computed.
    rectified
        ReLUs among the steps that may work in place, since nothing else reads the output of the
        dense or convolutional operation before them.
    row_bytes, peak_row_bytes
        Largest number of bytes that a row takes at once: its values, and its values with all
        copies that operations make.
    """

    layers: dict[fx.Node, UnitLayer]
    explicit: frozenset[fx.Node]
    readers: dict[fx.Node, LayerReader]
    steps: tuple[tuple[fx.Node, tuple[fx.Node, ...]], ...]
    gathers: dict[fx.Node, SampleGather]
    rectified: frozenset[fx.Node]
    needs: frozenset[fx.Node]
    ready: int
    row_bytes: int
    peak_row_bytes: int

    def gather(self, values: Values, samples: Tensor) -> Values:
        """Return the values that do not depend on the layers, gathered by samples."""
        return {node: function(values[node], samples) for node, function in self.gathers.items()}

    def start(self, values: Values, directions: Directions, pairs: PerturbedPairs) -> Values:
        """Return the values from which perturbed rows start.

        Parameters
        ----------
        values
            Values of the unperturbed pass.
        directions, pairs
            Directions of the one layer, and pairs of a direction and a sample, one per row.
        """
        rows = self.gather(values, pairs.samples)
        for node in self.explicit:
            rows[node] = directions.perturbed(values[node], pairs)
        for node, reader in self.readers.items():
            rows[node] = reader.updated(values[node], pairs, directions.columns(reader))
        return rows

    def run(
        self, program: Program, values: Values, directions: Directions, pairs: PerturbedPairs
    ) -> object:
        """Return the output of the network for perturbed rows; see :meth:`start`."""
        return self.finish(program, self.start(values, directions, pairs), {})

    def finish(self, program: Program, values: Values, edits: Mapping[fx.Node, Edit]) -> object:
        """Run the steps, and return the output of the network.

        Parameters
        ----------
        program
            The network's program.
        values
            Values from which the rows start. They are released while steps run.
        edits
            Edits of the outputs of some nodes.
        """
        for node, dead in self.steps:
            if node in self.rectified:
                value = values[dead[0]].relu_()
            else:
                value = program.compute(node, values)
            values[node] = edits[node](value) if node in edits else value
            for other in dead:
                values.pop(other, None)
        return program.outcome(values)


def make_resumption(
    network: UnitNetwork, layers: Sequence[UnitLayer], *, update: bool, mixed: bool = False
) -> Resumption | None:
    """Return the resumption behind some layers, None where only whole passes are exact.

    Parameters
    ----------
    network
        The network.
    layers
        The layers that are perturbed, in the order of the forward pass.
    update
        Whether the outputs of a single layer's linear readers are updated; else readers run again.
    mixed
        Whether the directions mix the units of a layer.
    """
    program, observation = network.program, network.observation
    if program is None or observation is None:
        return None
    nodes = {network.nodes[layer.name]: layer for layer in layers}
    readers: dict[fx.Node, LayerReader] = {}
    if update:
        ((node, layer),) = nodes.items()
        linear = find_readers(program, observation, node, layer)
        readers = {n: r for n, r in linear.items() if not mixed or r.fits_directions()}
    dependent = _dependents(program, nodes)
    needed = _needed(program, dependent, readers)
    runs = [n for n in program.nodes if n in needed and n in dependent and n not in readers]
    fixed = [n for n in needed if n not in dependent and n not in nodes]
    try:
        gathers = {n: observation.gather_function(n) for n in fixed}
    except BatchAxisError:
        return None
    sources = [n for n in nodes if n not in dependent]
    explicit = frozenset(n for n in sources if n in needed)
    updated = {n: reader for n, reader in readers.items() if n in needed}
    needs = frozenset((*sources, *updated, *fixed))
    steps = tuple(_with_releases(program, runs))
    start = [*explicit, *updated, *fixed]
    return Resumption(
        layers=nodes,
        explicit=explicit,
        readers=updated,
        steps=steps,
        gathers=gathers,
        rectified=frozenset(_rectified(program, steps, updated)),
        needs=needs,
        ready=max(program.index[n] for n in needs),
        row_bytes=_peak_bytes(
            network, start, steps, {} if network.dtype in ONEDNN_DTYPES else observation.scratch
        ),
        peak_row_bytes=_peak_row_bytes(network, start, steps, nodes, updated),
    )


def _dependents(program: Program, sources: Collection[fx.Node]) -> set[fx.Node]:
    """Return the nodes that read a source, directly or through other nodes."""
    dependents: set[fx.Node] = set()
    for node in program.nodes:
        if any(n in dependents or n in sources for n in node.all_input_nodes):
            dependents.add(node)
    return dependents


def _needed(
    program: Program, dependent: Collection[fx.Node], readers: Collection[fx.Node]
) -> set[fx.Node]:
    """Return the nodes whose values, perturbed or not, the output is computed from."""
    needed = set(program.output.all_input_nodes)
    for node in reversed(program.nodes):
        if node in needed and node in dependent and node not in readers:
            needed.update(node.all_input_nodes)
    return needed


def _rectified(
    program: Program,
    steps: Iterable[tuple[fx.Node, Sequence[fx.Node]]],
    readers: Collection[fx.Node],
) -> Iterator[fx.Node]:
    """Yield the ReLUs among the steps that may work in place."""
    computed = set(readers)
    for node, dead in steps:
        if is_weighted(program, node):
            computed.add(node)
        elif len(dead) == 1 and dead[0] in computed and is_relu(program, node):
            yield node


def is_relu(program: Program, node: fx.Node) -> bool:
    """Tell whether a node is a ReLU and nothing else."""
    if node in program.modules:
        module = program.modules[node]
        return type(module) is nn.ReLU and not is_patched(module)
    called = node.op in ("call_function", "call_method")
    return called and is_nonlinear_function(node.target) and function_name(node.target) == "relu"


def _with_releases(
    program: Program, runs: Sequence[fx.Node]
) -> Iterator[tuple[fx.Node, tuple[fx.Node, ...]]]:
    """Yield each node that runs with the nodes whose values nothing reads after it."""
    read_later = set(program.output.all_input_nodes)
    steps = []
    for node in reversed(runs):
        dead = [n for n in node.all_input_nodes if n not in read_later]
        read_later.update(node.all_input_nodes)
        steps.append((node, tuple(dead)))
    yield from reversed(steps)


def _peak_row_bytes(
    network: UnitNetwork,
    start: Sequence[fx.Node],
    steps: Sequence[tuple[fx.Node, Sequence[fx.Node]]],
    layers: Mapping[fx.Node, UnitLayer],
    readers: Collection[fx.Node],
) -> int:
    """Return the largest number of bytes of a row's values and of all copies of operations."""
    observation = network.observation
    if observation is None:
        return 1
    size, scratch = observation.sample_bytes, observation.scratch
    # An edit of all variants works on copies; the perturbation of a single unit takes less.
    edited = {node: EDIT_COPIES * size(node) for node in layers}
    at_start = max((edited[node] for node in start if node in layers), default=0)
    updated = max((size(node) + scratch.get(node, 0) for node in readers), default=0)
    beside = {node: scratch.get(node, 0) + edited.get(node, 0) for node, _ in steps}
    return _peak_bytes(network, start, steps, beside) + max(at_start, updated)


def _peak_bytes(
    network: UnitNetwork,
    start: Iterable[fx.Node],
    steps: Iterable[tuple[fx.Node, Sequence[fx.Node]]],
    beside: Mapping[fx.Node, int],
) -> int:
    """Return the largest number of bytes that a sample's values take at once.

    Parameters
    ----------
    network
        The network.
    start
        Nodes whose values are held at the start.
    steps
        Nodes that run, each with the nodes whose values are released after it.
    beside
        Bytes that nodes take beside their values while they run.
    """
    observation = network.observation
    if observation is None:
        return 1
    held = {node: observation.sample_bytes(node) for node in start}
    peak = sum(held.values())
    for node, dead in steps:
        held[node] = observation.sample_bytes(node)
        peak = max(peak, sum(held.values()) + beside.get(node, 0))
        for other in dead:
            held.pop(other, None)
    return max(peak, 1)


class PassStop(Protocol):
    """A point of a pass at which some values of the pass are read."""

    @property
    def needs(self) -> frozenset[fx.Node]:
        """Nodes whose values are read."""

    @property
    def ready(self) -> int:
        """Index of the node after which the pass stops, with these values at hand."""


@dataclass(frozen=True)
class NodeStop:
    """A stop after a node, with the values that later nodes read, and those of `needs`."""

    ready: int
    needs: frozenset[fx.Node] = frozenset()


def output_stop(program: Program, resumptions: Sequence[Resumption]) -> NodeStop:
    """Return the stop at the output, with all values that some resumptions need."""
    needs = frozenset().union(*(resumption.needs for resumption in resumptions))
    return NodeStop(len(program.nodes) - 1, needs)


AnyStop = TypeVar("AnyStop", bound=PassStop)


class Traversal(Generic[AnyStop]):
    """One pass of the unperturbed network, which stops where the values of each stop are computed.

    Parameters
    ----------
    network
        A traced network.
    program
        The network's program.
    stops
        The stops.

    Attributes
    ----------
    sample_bytes
        Largest number of bytes that a sample takes during the pass.
    """

    def __init__(self, network: UnitNetwork, program: Program, stops: Sequence[AnyStop]) -> None:
        self._program = program
        self._stops: dict[fx.Node, list[AnyStop]] = {}
        for stop in stops:
            self._stops.setdefault(program.nodes[stop.ready], []).append(stop)
        end = max((stop.ready for stop in stops), default=-1)
        release = {node: program.last_use[node] for node in program.nodes[: end + 1]}
        for stop in stops:
            for node in stop.needs:
                release[node] = max(release[node], stop.ready)
        self._steps = [
            (node, [n for n, last in release.items() if last == index])
            for index, node in enumerate(program.nodes[: end + 1])
        ]
        scratch = {} if network.observation is None else network.observation.scratch
        self.sample_bytes = _peak_bytes(network, (), self._steps, scratch)

    def run(self, inputs: AnyInputs) -> Iterator[tuple[AnyStop, Values]]:
        """Run the pass, and yield each stop with the values, which are read only."""
        values = self._program.start(inputs)
        for node, dead in self._steps:
            values[node] = self._program.compute(node, values)
            for stop in self._stops.get(node, ()):
                yield stop, values
            for other in dead:
                values.pop(other, None)
