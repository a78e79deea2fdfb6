"""Shortcuts tried on a few samples before they are taken.

What a plan or a chain makes of a large change is compared with the plain forward pass, its nodes
run one by one behind the changed layer. So an operation that does not do what its type says, or
a batch whose samples depend on each other, costs time and never gives a wrong number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from unitlens.model.graph import Program, Values
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.precision import close
from unitlens.perturbation.engine.batch_memory import Memory, column_bytes
from unitlens.perturbation.engine.chains import Chain
from unitlens.perturbation.engine.perturbed_directions import Units
from unitlens.perturbation.engine.readers import ChangedRows
from unitlens.perturbation.engine.resumption import Resumption, Traversal, make_resumption

# What sizes that do not fit make PyTorch raise.
_MISFITS = (RuntimeError, ValueError, TypeError, IndexError)


@dataclass(frozen=True)
class _Frontier:
    """All values that are alive behind a layer."""

    layer: UnitLayer
    needs: frozenset[fx.Node]
    ready: int


def samples_are_independent(network: UnitNetwork, example: Tensor) -> bool:
    """Tell whether what the network makes of a sample does not depend on the others in its batch.

    Parameters
    ----------
    network
        The network.
    example
        At least one input.
    """
    in_company = network.forward_with(torch.cat([example[:1], example]), {})
    return close(in_company[1:], network.forward_with(example, {}))


def fastest_plans(
    network: UnitNetwork,
    program: Program,
    example: Tensor,
    layers: Sequence[UnitLayer],
    memory: Memory,
    *,
    updates: bool,
    mixed: bool,
) -> dict[str, Resumption]:
    """Return for each layer the fastest plan that agrees with the plain pass, if there is one.

    Parameters
    ----------
    network, program, example
        As :func:`agreeing_plans`.
    layers
        The layers, each to be perturbed alone.
    memory
        What the budget allows for copies of weights.
    updates
        Whether what reads a layer may be brought up to date, instead of being run.
    mixed
        Whether directions mix the units of a layer.
    """
    found: dict[str, Resumption] = {}
    for update in (True, False) if updates else (False,):
        copied = 0
        plans: dict[str, Resumption] = {}
        for layer in layers:
            if layer.name in found:
                continue
            plan = make_resumption(network, [layer], update=update, mixed=mixed)
            if plan is not None and memory.allows(copied + column_bytes(plan)):
                plans[layer.name] = plan
                copied += column_bytes(plan)
        agreeing = agreeing_plans(network, program, example, [*plans.values()])
        found |= {name: plans[name] for name in agreeing}
    return found


def agreeing_plans(
    network: UnitNetwork, program: Program, example: Tensor, plans: Sequence[Resumption]
) -> set[str]:
    """Try plans for single layers.

    Parameters
    ----------
    network, program
        The network and its program.
    example
        A few inputs. On each, one unit is clamped to more than the layer's largest activation,
        the first unit and the last one in turn.
    plans
        The plans, no two for one layer.

    Returns
    -------
    Names of the layers whose plan gives what the plain pass gives.
    """
    frontiers = [_frontier(network, program, layer) for plan in plans for layer in _layers(plan)]
    stops: list[Resumption | _Frontier] = [*frontiers, *plans]
    expected: dict[str, Tensor] = {}
    agreeing = set()
    for stop, values in Traversal(network, program, stops).stops(example):
        if isinstance(stop, _Frontier):
            expected[stop.layer.name] = _plainly(network, program, stop, values)
            continue
        (layer,) = _layers(stop)
        found = _tried(network, program, stop, values)
        if found is not None and close(found, expected[layer.name]):
            agreeing.add(layer.name)
    return agreeing


def chain_agrees(network: UnitNetwork, example: Tensor, chain: Chain) -> bool:
    """Try a chain: half of all units, chosen at random, are clamped to one half."""
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
        for _, found in Traversal(network, chain.program, [chain]).stops(example):
            (activation,) = (found[node] for node in chain.needs)
            (logits,) = chain.logits(activation, values, ranks, [half])
    except _MISFITS:
        return False
    return close(logits, expected)


def _layers(plan: Resumption) -> Sequence[UnitLayer]:
    return tuple(plan.layers.values())


def _frontier(network: UnitNetwork, program: Program, layer: UnitLayer) -> _Frontier:
    here = program.index[network.nodes[layer.name]]
    alive = (node for node in program.nodes[: here + 1] if program.last_use[node] > here)
    return _Frontier(layer, frozenset(alive), here)


def _probe(layer: UnitLayer, activation: Tensor) -> tuple[Units, ChangedRows]:
    samples = torch.arange(len(activation), device=activation.device)
    channels = samples % 2 * (layer.units - 1)
    probe = Units(layer, channels, lambda _, a: a.amax() + 1, channels)
    return probe, ChangedRows(samples, samples, probe.changes(activation)[samples, samples])


def _plainly(network: UnitNetwork, program: Program, stop: _Frontier, values: Values) -> Tensor:
    node = network.nodes[stop.layer.name]
    probe, changes = _probe(stop.layer, values[node])
    alive = {other: values[other] for other in stop.needs}
    alive[node] = probe.taken_away(values[node], changes)
    for later in program.nodes[stop.ready + 1 :]:
        program.step(later, alive)
    return network.logits(program.outcome(alive))


def _tried(
    network: UnitNetwork, program: Program, plan: Resumption, values: Values
) -> Tensor | None:
    ((node, layer),) = plan.layers.items()
    probe, changes = _probe(layer, values[node])
    try:
        perturbed = plan.perturbed(values, probe, changes)
        return network.logits(plan.finish(program, perturbed, {}))
    except _MISFITS:
        return None
