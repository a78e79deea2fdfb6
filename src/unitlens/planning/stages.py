"""How many jobs each rule of a plan has, how long they take, and what memory they need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import TYPE_CHECKING

from unitlens.config.networks import TrainingSpec
from unitlens.planning import rates
from unitlens.planning.plan import Plan

if TYPE_CHECKING:
    from unitlens.planning.described_networks import Described, Work

FLOP = 2  # floating-point operations of a multiply-add
PERTURBATION = 2_000_000_000  # bytes that perturbations stay within, beside network and results
COUNT, NUMBER = 4, 8  # bytes of a count of a histogram, and of another number
# Numbers of a unit and class that a state holds, and that the table has; at its end the state's,
# the table's by layer and those of all layers are there together, and the histograms twice.
HELD, TABLED = 4, 5
SUMMED = 10  # numbers of a unit and class while unit ablation makes means and errors of sums
DECOMPOSED = 5  # matrices of a layer's units that are there while one is decomposed
MERGED = 4  # states of a store's shards that are merged at a time, by a tree


@dataclass(frozen=True)
class Stage:
    """One rule.

    Attributes
    ----------
    rule
        Its name.
    jobs
        Number of its jobs.
    hours
        Of all jobs, one after another on one machine.
    longest
        Hours of the longest job.
    memory
        Bytes that the largest job needs.
    """

    rule: str
    jobs: int
    hours: float
    longest: float
    memory: int


@dataclass(frozen=True)
class Machine:
    """What a machine reaches: GFLOP/s in forward passes, and MB/s read from its disk."""

    gflops: float
    read_mb: float


def plan_stages(
    plan: Plan, described: Mapping[str, "Described"], machine: Machine
) -> tuple[Stage, ...]:
    """Return the rules of a plan, in the order of the workflow.

    Parameters
    ----------
    plan
        The plan.
    described
        What each network of it is like, by its name.
    machine
        What it runs on.
    """
    needs = _Needs(machine)
    summarised = plan.summarised()
    trainings = [(described[name], run.spec.training) for name, run in plan.runs.items()]
    perturbed = ("unit_ablation", "cumulative_ablation", "noise_robustness")

    def stage(rule: str, names: Sequence[str]) -> Stage:
        networks = [described[name] for name in names]
        hours = [needs.hours(rule, network) for network in networks]
        return _stage(rule, hours, [needs.memory(rule, network) for network in networks])

    stages = (
        Stage("prepare_dataset", len(plan.datasets), 0.0, 0.0, 0),
        _stage(
            "train",
            [needs.training_hours(*pair) for pair in trainings],
            [needs.training_memory(*pair) for pair in trainings],
        ),
        *_recordings([described[name] for name in plan.recorded()], needs),
        stage("class_statistics", summarised),
        stage("unit_measures", summarised),
        stage("principal_components", plan.measured("principal_components")),
        *(stage(rule, plan.measured(rule)) for rule in perturbed),
        *(Stage(rule, 1, 0.0, 0.0, 0) for rule in _endings(plan)),
    )
    return tuple(stage for stage in stages if stage.jobs)


def _endings(plan: Plan) -> tuple[str, ...]:
    compared = ("compare_with_paper",) if plan.config.compared else ()
    return ("tabulate", "draw_figures", *compared, "write_report")


def _recordings(networks: Sequence["Described"], needs: "_Needs") -> tuple[Stage, ...]:
    """Return the jobs that record networks, each at once or in so many parts that are merged."""
    hours: dict[str, list[float]] = {"record_activations": [], "record_part": []}
    memory: dict[str, list[int]] = {"record_activations": [], "record_part": []}
    for network in networks:
        parts = network.settings.activations.parts
        rule = "record_activations" if parts == 1 else "record_part"
        hours[rule] += [needs.hours("record_activations", network) / parts] * parts
        memory[rule] += [needs.memory("record_activations", network)] * parts
    merged = sum(network.settings.activations.parts > 1 for network in networks)
    merging = Stage("merge_activations", merged, 0.0, 0.0, 0)
    return *(_stage(rule, hours[rule], memory[rule]) for rule in hours), merging


def _stage(rule: str, hours: Sequence[float], memory: Sequence[int]) -> Stage:
    longest, largest = max(hours, default=0.0), max(memory, default=0)
    return Stage(rule, len(hours), sum(hours), longest, largest)


@dataclass(frozen=True)
class _Needs:
    """What one job needs."""

    machine: Machine

    def hours(self, rule: str, network: "Described") -> float:
        """Return the hours of a job; 0 for those that take seconds to minutes."""
        if rule == "class_statistics":
            return self._reading(network) / 3600
        if rule == "principal_components":
            return self._components(network) / 3600
        if rule not in network.work:
            return 0.0
        return self._computing(rule, network.work[rule], from_files=network.from_files)

    def training_hours(self, network: "Described", training: TrainingSpec | None) -> float:
        """Return the hours of all epochs and their scores."""
        scored, trained = network.scoring(training), network.training(training)
        return sum(
            self._computing(kind, work, from_files=network.from_files)
            for kind, work in (("score", scored), ("train", trained))
        )

    def _computing(self, kind: str, work: "Work", *, from_files: bool) -> float:
        speed = self.machine.gflops * rates.SHARES[kind].value
        decoding = work.samples / rates.IMAGES.value if from_files else 0.0
        return (work.macs * FLOP / (speed * 1e9) + decoding) / 3600

    def _reading(self, network: "Described") -> float:
        """Return seconds of the statistics: of the disk, or of the processor if that is longer."""
        stored = compressed_bytes(network, maps=False)  # they are not read
        from_disk = stored / (self.machine.read_mb * 1e6)
        item = _ITEM[network.settings.activations.dtype]
        numbers = network.units * sum(network.facts.samples.values()) * item
        return max(from_disk, numbers / (rates.STATISTICS.value * 1e6))

    def _components(self, network: "Described") -> float:
        """Return seconds of the products of all layers' units, or of reading them if longer."""
        section = network.settings.principal_components
        split = section.split if section else "train"
        stored = compressed_bytes(network, split)
        squares = sum(layer.units**2 for layer in network.layers)
        speed = self.machine.gflops * rates.SHARES["principal_components"].value * 1e9
        products = network.facts.samples[split] * squares * FLOP / speed
        return max(stored / (self.machine.read_mb * 1e6), products)

    def memory(self, rule: str, network: "Described") -> int:
        """Return the bytes that a job needs, about."""
        from unitlens.recording.kept_arrays import BATCH_BYTES

        settings = network.settings
        base = rates.PROCESS_BYTES
        if rule == "record_activations":
            store = network.store(max(network.facts.samples.values()))
            batch = (settings.activations.batch_size or 0) * network.sample_bytes or BATCH_BYTES
            return base + network.weight_bytes + store.memory + batch
        bins = (settings.statistics.fine_bins + 1) * COUNT
        cells = network.units * network.facts.classes
        if rule == "class_statistics":
            widest = max(layer.units for layer in network.layers)
            states = _states(widest, network, settings.activations.dtype)
            wide = states * widest * network.facts.classes
            reading = (cells + wide) * (bins + HELD * NUMBER)
            end = cells * (2 * bins + (HELD + 2 * TABLED) * NUMBER)
            return base + max(reading, end)
        if rule == "principal_components":
            widest = max(layer.units for layer in network.layers)
            states = _states(widest, network, settings.activations.dtype)
            return base + (states + DECOMPOSED) * widest**2 * NUMBER
        if rule == "unit_measures":
            return base + 2 * cells * (bins + TABLED * NUMBER)
        results = network.work[rule].cells * SUMMED * NUMBER
        return base + network.weight_bytes + PERTURBATION + results

    def training_memory(self, network: "Described", training: TrainingSpec | None) -> int:
        """Return the bytes of a training, of weights, gradients and the optimizer's two of each."""
        scored = network.scored * network.sample_bytes
        if training is None:
            return rates.PROCESS_BYTES + network.weight_bytes + scored
        step = 3 * network.weight_bytes + training.batch_size * network.kept_bytes
        return rates.PROCESS_BYTES + network.weight_bytes + max(step, scored)


def _states(units: int, network: "Described", dtype: str) -> int:
    """Return how many states of a layer are held while its shards are merged, at most."""
    from unitlens.store.format.layout import DEFAULT_LAYOUT

    size = max(network.facts.samples.values()) * units * _ITEM[dtype]
    shards = max(1, size // DEFAULT_LAYOUT.shard_bytes)
    return max(2, (MERGED - 1) * ceil(log(shards, MERGED)))


def compressed_bytes(network: "Described", split: str | None = None, *, maps: bool = True) -> int:
    """Return the bytes of a network's stores, of one split or both, compressed as measured."""
    settings, total = network.settings.activations, 0.0
    for name, samples in network.facts.samples.items():
        if split not in (None, name):
            continue
        size = network.store(samples, maps=maps).bytes
        if settings.codec == "none":
            total += size
            continue
        for has_maps, ratio in ((True, rates.MAPS), (False, rates.NEURONS)):
            chosen = [layer for layer in network.layers if (len(layer.shape) > 1) is has_maps]
            numbers = sum(layer.units for layer in chosen) * samples * _ITEM[settings.dtype]
            size -= numbers
            total += numbers / ratio.value
        total += size
    return round(total)


_ITEM = {"float32": 4, "float16": 2}
