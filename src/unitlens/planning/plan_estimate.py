"""The estimate of a plan before anything runs: stores, jobs, hours, memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unitlens.errors import ArgumentError
from unitlens.planning import rates
from unitlens.planning.job_estimates import Machine, compressed_bytes
from unitlens.planning.one_job import networks_of_one_job
from unitlens.planning.plan import Plan, settings_key, shape_key
from unitlens.planning.stages import Stage, plan_stages

if TYPE_CHECKING:
    from unitlens.planning.described_networks import NetworkDescription


@dataclass(frozen=True)
class StoreGroup:
    """The stores of one split of all networks with the same layers.

    Attributes
    ----------
    name
        Data set, model and split.
    stores
        Number of stores.
    layers
        Number of layers of one store.
    units
        Number of units of one store.
    samples
        Number of samples of one store.
    bytes
        Bytes of all stores before compression.
    compressed
        Bytes of all stores after compression, by the ratios of :mod:`unitlens.planning.rates`.
    files
        Number of files of all stores.
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
    """The resources that a plan takes.

    Attributes
    ----------
    forward
        Multiply-adds of a forward pass of one sample, by data set and model.
    stores
        Stores of activations, in groups.
    stages
        Rules of the workflow.
    machine
        Speed of the machine.
    of_one_job
        Number of networks whose steps one job does. `stages` counts such a job by its steps.
    """

    forward: dict[str, int]
    stores: tuple[StoreGroup, ...]
    stages: tuple[Stage, ...]
    machine: Machine
    of_one_job: int


def estimate_plan(
    plan: Plan, *, gflops: float = rates.PASSES.value, read_mb: float = rates.READ.value
) -> PlanEstimate:
    """Estimate the resources of a plan from its configuration alone.

    Each kind of network is built without its weights, and passes one batch of zeros. Data sets of
    known size need not exist. Hours follow from the rates of :mod:`unitlens.planning.rates`; they
    are upper bounds for ablations of units that are zero for some samples, and for training with
    a stop rule.

    Parameters
    ----------
    plan
        The plan of a configuration.
    gflops
        GFLOP/s of the machine in forward passes, two floating-point operations per multiply-add.
    read_mb
        MB/s read from the machine's disk.

    Returns
    -------
    Stores and stages.

    Raises
    ------
    ArgumentError
        Where a rate is not above 0.
    """
    for name, rate in {"gflops": gflops, "read_mb": read_mb}.items():
        if not rate > 0:
            raise ArgumentError(f"{name} is {rate:g}, but must be above 0")
    descriptions = _describe_networks(plan)
    machine = Machine(gflops, read_mb)
    groups: dict[tuple[str, ...], list[NetworkDescription]] = {}
    for name in plan.recorded():
        settings = plan.settings_of(name).activations.model_dump_json()
        key = *shape_key(plan.run_of(name)), settings
        groups.setdefault(key, []).append(descriptions[name])
    return PlanEstimate(
        forward={network.name: network.forward for network in descriptions.values()},
        stores=tuple(
            _store_group(networks[0], split, len(networks))
            for networks in groups.values()
            for split in networks[0].dataset.samples
        ),
        stages=plan_stages(plan, descriptions, machine),
        machine=machine,
        of_one_job=len(networks_of_one_job(plan)),
    )


def _describe_networks(plan: Plan) -> dict[str, "NetworkDescription"]:
    """Return the description of each network, made once for each shape and measurements."""
    from unitlens.planning.described_networks import describe_network

    by_settings: dict[tuple[str, ...], NetworkDescription] = {}
    descriptions = {}
    for name in plan.networks:
        run = plan.run_of(name)
        key = settings_key(run)
        if key not in by_settings:
            by_settings[key] = describe_network(run, Path(plan.config.data))
        descriptions[name] = by_settings[key]
    return descriptions


def _store_group(network: "NetworkDescription", split: str, count: int) -> StoreGroup:
    """Return the stores of one split of `count` networks with the same layers."""
    samples = network.dataset.samples[split]
    size = network.store(samples)
    return StoreGroup(
        name=f"{network.name} {split}",
        stores=count,
        layers=len(network.layers),
        units=network.units,
        samples=samples,
        bytes=count * size.bytes,
        compressed=count * compressed_bytes(network, split),
        files=count * size.files,
    )
