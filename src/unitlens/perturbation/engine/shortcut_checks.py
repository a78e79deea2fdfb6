"""Checks of shortcuts on a few samples, before they are taken.

The outputs of a resumption or a chain under a large perturbation are compared with those of the
plain pass, in which the nodes behind the perturbed layers run one by one. So an operation that
does not compute what its type says, or samples of a batch that depend on each other, cost time and
never give wrong numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from unitlens.memory_errors import lacks_memory
from unitlens.model.graph import Program, Values
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.precision import outputs_agree
from unitlens.perturbation.engine.batch_memory import Memory, column_bytes
from unitlens.perturbation.engine.chains import Chain
from unitlens.perturbation.engine.nested_orders import NestedOrder
from unitlens.perturbation.engine.perturbed_directions import Units
from unitlens.perturbation.engine.readers import PerturbedPairs
from unitlens.perturbation.engine.resumption import Resumption, Traversal, make_resumption

# Errors of PyTorch where sizes do not fit.
_SIZE_ERRORS = (RuntimeError, ValueError, TypeError, IndexError)


@dataclass(frozen=True)
class _Frontier:
    """A stop at a layer, with all values that later nodes read."""

    layer: UnitLayer
    needs: frozenset[fx.Node]
    ready: int


def fastest_resumptions(
    network: UnitNetwork,
    program: Program,
    example: AnyInputs,
    layers: Sequence[UnitLayer],
    memory: Memory,
    *,
    updates: bool,
    mixed: bool,
) -> dict[str, Resumption]:
    """Return for each layer the fastest resumption that agrees with the plain pass, if any.

    Parameters
    ----------
    network, program
        The network and its program.
    example
        A few inputs.
    layers
        The layers, each to be perturbed alone.
    memory
        The memory limit, which copies of weights count towards.
    updates
        Whether the outputs of a layer's readers may be updated; else readers run again.
    mixed
        Whether directions mix the units of a layer.
    """
    resumptions: dict[str, Resumption] = {}
    for update in (True, False) if updates else (False,):
        copied = 0
        candidates: dict[str, Resumption] = {}
        for layer in layers:
            if layer.name in resumptions:
                continue
            candidate = make_resumption(network, [layer], update=update, mixed=mixed)
            if candidate is not None and memory.allows(copied + column_bytes(candidate)):
                candidates[layer.name] = candidate
                copied += column_bytes(candidate)
        agreeing = _agreeing_layers(network, program, example, [*candidates.values()])
        resumptions |= {name: candidates[name] for name in agreeing}
    return resumptions


def _agreeing_layers(
    network: UnitNetwork, program: Program, example: AnyInputs, resumptions: Sequence[Resumption]
) -> set[str]:
    """Return the names of the layers whose resumption agrees with the plain pass.

    Parameters
    ----------
    network, program
        The network and its program.
    example
        A few inputs. On each, one unit is clamped to more than the largest activation of the
        layer: the first unit and the last unit in turn.
    resumptions
        Resumptions, each behind another layer.
    """
    frontiers = [_frontier(network, program, _layer(resumption)) for resumption in resumptions]
    stops: list[Resumption | _Frontier] = [*frontiers, *resumptions]
    expected: dict[str, Tensor] = {}
    agreeing = set()
    for stop, values in Traversal(network, program, stops).run(example):
        if isinstance(stop, _Frontier):
            expected[stop.layer.name] = _plain_logits(network, program, stop, values)
            continue
        name = _layer(stop).name
        logits = _resumed_logits(network, program, stop, values)
        if logits is not None and outputs_agree(logits, expected[name]):
            agreeing.add(name)
    return agreeing


def chain_agrees(network: UnitNetwork, example: AnyInputs, chain: Chain) -> bool:
    """Tell whether a chain agrees with the plain pass, with half of all units clamped to 0.5.

    Parameters
    ----------
    network
        The network.
    example
        A few inputs.
    chain
        The chain. The clamped units are drawn at random.
    """
    layers = [block.layer for block in chain.blocks if block.layer is not None]
    counts = [layer.units for layer in layers]
    places = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(0))
    by_layer = torch.split(places.to(network.device), counts)
    ranks = {layer.name: part for layer, part in zip(layers, by_layer, strict=True)}
    half = len(places) // 2
    values = {n: torch.full_like(part, 0.5, dtype=network.dtype) for n, part in ranks.items()}

    def clamp(layer: UnitLayer, activation: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (activation.dim() - 2))
        ablated = (ranks[layer.name] < half).reshape(shape)
        return torch.where(ablated, values[layer.name].reshape(shape), activation)

    edits = {layer.name: lambda a, layer=layer: clamp(layer, a) for layer in layers}
    expected = network.forward_with(example, edits)
    try:
        for _, of_pass in Traversal(network, chain.program, [chain]).run(example):
            (activation,) = (of_pass[node] for node in chain.needs)
            (logits,) = chain.logits(activation, values, NestedOrder.of(ranks), [half])
    except _SIZE_ERRORS as error:
        if lacks_memory(error):
            raise
        return False
    return outputs_agree(logits, expected)


def _layer(resumption: Resumption) -> UnitLayer:
    """Return the one layer of a resumption."""
    (layer,) = resumption.layers.values()
    return layer


def _frontier(network: UnitNetwork, program: Program, layer: UnitLayer) -> _Frontier:
    here = program.index[network.nodes[layer.name]]
    read_later = (node for node in program.nodes[: here + 1] if program.last_use[node] > here)
    return _Frontier(layer, frozenset(read_later), here)


def _probe(layer: UnitLayer, activation: Tensor) -> tuple[Units, PerturbedPairs]:
    """Return a large perturbation of one unit on each sample."""
    samples = torch.arange(len(activation), device=activation.device)
    channels = samples % 2 * (layer.units - 1)
    units = Units(layer, channels, lambda _, a: a.amax() + 1, channels)
    coefficients = units.coefficients(activation)[samples, samples]
    return units, PerturbedPairs(samples, samples, coefficients, len(samples))


def _plain_logits(
    network: UnitNetwork, program: Program, stop: _Frontier, values: Values
) -> Tensor:
    node = network.nodes[stop.layer.name]
    units, pairs = _probe(stop.layer, values[node])
    alive = {other: values[other] for other in stop.needs}
    alive[node] = units.perturbed(values[node], pairs)
    for later in program.nodes[stop.ready + 1 :]:
        program.step(later, alive)
    return network.logits(program.outcome(alive))


def _resumed_logits(
    network: UnitNetwork, program: Program, resumption: Resumption, values: Values
) -> Tensor | None:
    """Return the logits of the resumed pass, None where the sizes of its operations do not fit."""
    ((node, layer),) = resumption.layers.items()
    units, pairs = _probe(layer, values[node])
    try:
        return network.logits(resumption.run(program, values, units, pairs))
    except _SIZE_ERRORS as error:
        if lacks_memory(error):
            raise
        return None
