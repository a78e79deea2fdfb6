"""Which operations a perturbed pass runs again, and which values it takes from the pass before."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor, fx, nn

from unitlens.model.graph import Edit, Program, Values
from unitlens.model.layers import UnitLayer
from unitlens.model.memory_watch import ONEDNN
from unitlens.model.network import UnitNetwork
from unitlens.model.observation import Fold, UnfoldableError
from unitlens.model.operations import function_name, is_nonlinear_function, is_weighted
from unitlens.model.rewriting import is_watched
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.readers import ChangedRows, LayerReader, find_readers

EDIT_COPIES = 4  # of an activation, while all of it is edited


@dataclass(frozen=True)
class Resumption:
    """How to go on from perturbed layers with any choice of samples as the rows of a batch.

    Attributes
    ----------
    layers
        The perturbed layers by node.
    explicit
        The layers that depend on no other one and whose perturbed values themselves are read, not
        just by `readers`.
    readers
        Operations that are brought up to date instead of being run again.
    steps
        The operations that are run again, in order, each with the nodes that nothing reads after
        it.
    folds
        For each value that does not depend on the layers but is read again, how it is gathered
        by samples.
    needs
        All nodes whose values of the pass before are needed.
    ready
        Index of the node after which they all are there.
    rectified
        ReLUs among the steps that may work in place: nothing else reads what a dense or
        convolutional operation has put out for them.
    row_bytes, peak_row_bytes
        Bytes of one row that operations go through at once, and those with all that they copy.
    """

    layers: dict[fx.Node, UnitLayer]
    explicit: frozenset[fx.Node]
    readers: dict[fx.Node, LayerReader]
    steps: tuple[tuple[fx.Node, tuple[fx.Node, ...]], ...]
    folds: dict[fx.Node, Fold]
    rectified: frozenset[fx.Node]
    needs: frozenset[fx.Node]
    ready: int
    row_bytes: int
    peak_row_bytes: int

    def gathered(self, values: Values, samples: Tensor) -> Values:
        """Gather by samples the values that do not depend on the layers."""
        return {node: fold(values[node], samples) for node, fold in self.folds.items()}

    def perturbed(self, values: Values, directions: Directions, changes: ChangedRows) -> Values:
        """Return the values that rows start from, perturbed along directions of the one layer.

        Parameters
        ----------
        values
            Of the pass before.
        directions, changes
            The directions, and what is taken away along them, row by row.
        """
        found = self.gathered(values, changes.samples)
        for node in self.explicit:
            found[node] = directions.taken_away(values[node], changes)
        for node, reader in self.readers.items():
            found[node] = reader.updated(values[node], changes, directions.columns(reader))
        return found

    def finish(self, program: Program, values: Values, edits: Mapping[fx.Node, Edit]) -> object:
        """Run the steps on the rows' `values`, which are used up, and return the output."""
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
    """Return how a pass goes on from perturbed layers, None where only whole passes are right.

    Parameters
    ----------
    network
        The network.
    layers
        The layers that are perturbed, in the order of the forward pass.
    update
        Whether a single layer's linear readers are to be brought up to date; else they are run.
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
        found = find_readers(program, observation, node, layer)
        readers = {n: r for n, r in found.items() if not mixed or r.fits_directions()}
    dependent = _dependents(program, nodes)
    needed = _needed(program, dependent, readers)
    runs = [n for n in program.nodes if n in needed and n in dependent and n not in readers]
    fixed = [n for n in needed if n not in dependent and n not in nodes]
    try:
        folds = {n: observation.fold(n) for n in fixed}
    except UnfoldableError:
        return None
    sources = [n for n in nodes if n not in dependent]
    explicit = frozenset(n for n in sources if n in needed)
    chosen = {n: reader for n, reader in readers.items() if n in needed}
    needs = frozenset((*sources, *chosen, *fixed))
    steps = tuple(_with_frees(program, runs))
    start = [*explicit, *chosen, *fixed]
    return Resumption(
        layers=nodes,
        explicit=explicit,
        readers=chosen,
        steps=steps,
        folds=folds,
        rectified=frozenset(_rectified(program, steps, chosen)),
        needs=needs,
        ready=max(program.index[n] for n in needs),
        row_bytes=_peak_bytes(
            network, start, steps, {} if network.dtype in ONEDNN else observation.scratch
        ),
        peak_row_bytes=_peak_row_bytes(network, start, steps, nodes, chosen),
    )


def _dependents(program: Program, sources: Collection[fx.Node]) -> set[fx.Node]:
    """Return the nodes that read, directly or not, one of the sources."""
    found: set[fx.Node] = set()
    for node in program.nodes:
        if any(n in found or n in sources for n in node.all_input_nodes):
            found.add(node)
    return found


def _needed(
    program: Program, dependent: Collection[fx.Node], readers: Collection[fx.Node]
) -> set[fx.Node]:
    """Return the nodes whose perturbed values, or values as they are, make up the output."""
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
    made = set(readers)
    for node, dead in steps:
        if is_weighted(program, node):
            made.add(node)
        elif len(dead) == 1 and dead[0] in made and is_relu(program, node):
            yield node


def is_relu(program: Program, node: fx.Node) -> bool:
    """Tell whether a node is a ReLU and nothing more."""
    if node in program.modules:
        module = program.modules[node]
        return type(module) is nn.ReLU and not is_watched(module)
    called = node.op in ("call_function", "call_method")
    return called and is_nonlinear_function(node.target) and function_name(node.target) == "relu"


def _with_frees(
    program: Program, runs: Sequence[fx.Node]
) -> Iterator[tuple[fx.Node, tuple[fx.Node, ...]]]:
    kept = set(program.output.all_input_nodes)
    steps = []
    for node in reversed(runs):
        dead = [n for n in node.all_input_nodes if n not in kept]
        kept.update(node.all_input_nodes)
        steps.append((node, tuple(dead)))
    yield from reversed(steps)


def _peak_row_bytes(
    network: UnitNetwork,
    start: Sequence[fx.Node],
    steps: Sequence[tuple[fx.Node, Sequence[fx.Node]]],
    layers: Mapping[fx.Node, UnitLayer],
    readers: Collection[fx.Node],
) -> int:
    """Return the bytes that one row needs with all that operations take beside their values."""
    observation = network.observation
    if observation is None:
        return 1
    size, scratch = observation.sample_bytes, observation.scratch
    # An edit of all variants works on copies; what is taken away from a single unit is less.
    edited = {node: EDIT_COPIES * size(node) for node in layers}
    begun = max((edited[node] for node in start if node in layers), default=0)
    updated = max((size(node) + scratch.get(node, 0) for node in readers), default=0)
    beside = {node: scratch.get(node, 0) + edited.get(node, 0) for node, _ in steps}
    return _peak_bytes(network, start, steps, beside) + max(begun, updated)


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
        Nodes whose values are there at first.
    steps
        Nodes that are run, each with those whose values are let go of after it.
    beside
        What some nodes take beside the values.
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
    """Somewhere to stop: after the node of index `ready`, where the values of `needs` are there."""

    @property
    def needs(self) -> frozenset[fx.Node]:
        """Nodes whose values are needed."""

    @property
    def ready(self) -> int:
        """Index of the node after which they are there."""


@dataclass(frozen=True)
class End:
    """A stop at a node, where what later ones read is needed, and perhaps more."""

    ready: int
    needs: frozenset[fx.Node] = frozenset()


def holding_end(program: Program, plans: Sequence[Resumption]) -> End:
    """Return the stop at a pass's end at which the values that plans need are all still there."""
    return End(len(program.nodes) - 1, frozenset().union(*(plan.needs for plan in plans)))


AnyStop = TypeVar("AnyStop", bound=PassStop)


class Traversal(Generic[AnyStop]):
    """One pass over a network as it is, that stops wherever what a plan needs is there.

    Parameters
    ----------
    network
        A network that was traced.
    program
        Its program.
    plans
        The plans.
    """

    def __init__(self, network: UnitNetwork, program: Program, plans: Sequence[AnyStop]) -> None:
        self._program = program
        self._stops: dict[fx.Node, list[AnyStop]] = {}
        for plan in plans:
            self._stops.setdefault(program.nodes[plan.ready], []).append(plan)
        end = max((plan.ready for plan in plans), default=-1)
        release = {node: program.last_use[node] for node in program.nodes[: end + 1]}
        for plan in plans:
            for node in plan.needs:
                release[node] = max(release[node], plan.ready)
        self._steps = [
            (node, [n for n, last in release.items() if last == index])
            for index, node in enumerate(program.nodes[: end + 1])
        ]
        scratch = {} if network.observation is None else network.observation.scratch
        self.sample_bytes = _peak_bytes(network, (), self._steps, scratch)

    def stops(self, inputs: Tensor) -> Iterator[tuple[AnyStop, Values]]:
        """Run, and yield each plan with the values there, to be only read."""
        values = self._program.start(inputs)
        for node, dead in self._steps:
            values[node] = self._program.compute(node, values)
            for plan in self._stops.get(node, ()):
                yield plan, values
            for other in dead:
                values.pop(other, None)
