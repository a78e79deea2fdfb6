"""What a plan takes, before anything is run: stores, jobs, hours, memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unitlens.config.runs import Run
from unitlens.errors import ArgumentError
from unitlens.planning import rates
from unitlens.planning.plan import Plan
from unitlens.planning.stages import (
    Machine,
    Stage,
    compressed_bytes,
    plan_stages,
)

if TYPE_CHECKING:
    from unitlens.planning.described_networks import Described


@dataclass(frozen=True)
class Stores:
    """The stores of one split of all networks of one shape.

    Attributes
    ----------
    name
        Data set, model and split.
    stores
        Number of stores.
    layers, units, samples
        Of one store.
    bytes, compressed, files
        Of all of them; `bytes` before compression, `compressed` as measured elsewhere.
    """

    name: str
    stores: int
    layers: int
    units: int
    samples: int
    bytes: int
    compressed: int
    files: int


@dataclass(frozen=True)
class PlanEstimate:
    """What a plan takes.

    Attributes
    ----------
    forward
        Multiply-adds of a forward pass of one sample, by data set and model.
    stores
        What is recorded.
    stages
        What is run.
    machine
        What it is run on.
    """

    forward: dict[str, int]
    stores: tuple[Stores, ...]
    stages: tuple[Stage, ...]
    machine: Machine


def estimate_plan(
    plan: Plan, *, gflops: float = rates.PASSES.value, read_mb: float = rates.READ.value
) -> PlanEstimate:
    """Say what a plan takes, from its configuration alone.

    Parameters
    ----------
    plan
        The plan of a configuration.
    gflops
        GFLOP/s that the machine reaches in forward passes, two a multiply-add.
    read_mb
        MB/s that its disk gives.

    Returns
    -------
    Stores, stages and their sums. Networks are built, but without their weights, and pass one
    batch of zeros each; data sets that are known need not be there. Hours follow from the rates
    of :mod:`unitlens.planning.rates`. Those of the perturbations are upper bounds as far as units
    are zero for samples, and those of training as far as a stop rule ends it.

    Raises
    ------
    ArgumentError
        Where a rate is not above 0.
    """
    for name, rate in {"gflops": gflops, "read_mb": read_mb}.items():
        if not rate > 0:
            raise ArgumentError(f"{name} is {rate:g}, but must be above 0")
    described = _describe_all(plan)
    machine = Machine(gflops, read_mb)
    recorded: dict[tuple[str, ...], list[Described]] = {}
    for name in plan.recorded():
        settings = plan.settings_of(name).activations.model_dump_json()
        alike = *_of_shape(plan.run_of(name)), settings
        recorded.setdefault(alike, []).append(described[name])
    return PlanEstimate(
        forward={network.name: network.forward for network in described.values()},
        stores=tuple(
            _stores(alike[0], split, len(alike))
            for alike in recorded.values()
            for split in alike[0].facts.samples
        ),
        stages=plan_stages(plan, described, machine),
        machine=machine,
    )


def _describe_all(plan: Plan) -> dict[str, "Described"]:
    """Describe each network; those of the same data set, model and measurements are one."""
    from unitlens.planning.described_networks import describe

    known: dict[tuple[str, ...], Described] = {}
    found = {}
    for name in (*plan.runs, *plan.kept()):
        run = plan.run_of(name)
        key = *_of_shape(run), run.measurements.model_dump_json()
        if key not in known:
            known[key] = describe(run, Path(plan.config.data))
        found[name] = known[key]
    return found


def _of_shape(run: Run) -> tuple[str, str]:
    """Return what the layers and samples of a network depend on."""
    dataset = run.spec.dataset.model_dump_json(exclude={"corruption"})
    return dataset, run.spec.model.model_dump_json()


def _stores(network: "Described", split: str, count: int) -> Stores:
    samples = network.facts.samples[split]
    size = network.store(samples)
    return Stores(
        name=f"{network.name} {split}",
        stores=count,
        layers=len(network.layers),
        units=network.units,
        samples=samples,
        bytes=count * size.bytes,
        compressed=count * compressed_bytes(network, split),
        files=count * size.files,
    )
