"""What the networks of a plan are like: layers, bytes, and the work of all that is done on one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from unitlens.config.base import LayerChoice, ValueName
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import TrainingSpec
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.config.runs import Run
from unitlens.data.describe import DatasetFacts, describe_dataset
from unitlens.model.layers import UnitLayer, choose_layers
from unitlens.planning.perturbation_costs import Costs, open_network
from unitlens.recording.maps import choose_maps
from unitlens.store.format.store_size import StoreSize, estimate_store
from unitlens.training.models import construct_model
from unitlens.training.scoring import scored_at_once

FORWARD_AND_BACKWARD = 3  # passes: a backward pass computes two products for each one forward


@dataclass(frozen=True)
class Work:
    """What one job does: multiply-adds, samples that it reads, cells of unit and class it finds."""

    macs: float = 0.0
    samples: int = 0
    cells: int = 0


@dataclass(frozen=True)
class Described:
    """What is known of the networks of one data set and model that are measured alike.

    Attributes
    ----------
    name
        Data set and model.
    settings
        How one is measured.
    facts
        Of the data set.
    layers
        Those whose activations are recorded.
    forward
        Multiply-adds of a forward pass of one sample.
    weight_bytes, sample_bytes, kept_bytes
        Bytes of the weights, of one sample in a pass at most, and of all that a pass makes of it.
    scored
        Samples that are scored at once.
    from_files
        Whether samples are images that are read and decoded each time.
    work
        Of each rule that runs a trained network.
    """

    name: str
    settings: MeasurementSpec
    facts: DatasetFacts
    layers: tuple[UnitLayer, ...]
    forward: int
    weight_bytes: int
    sample_bytes: int
    kept_bytes: int
    scored: int
    from_files: bool
    work: dict[str, Work]

    @property
    def units(self) -> int:
        """Number of recorded units."""
        return sum(layer.units for layer in self.layers)

    def store(self, samples: int, *, maps: bool = True) -> StoreSize:
        """Return what a store of so many samples takes, with the maps that it keeps or without."""
        settings = self.settings.activations
        return estimate_store(
            self.layers,
            samples,
            dtype=settings.dtype,
            reductions=settings.reductions,
            maps=choose_maps(settings.maps if maps else None, self.layers, samples),
        )

    def scoring(self, training: TrainingSpec | None) -> Work:
        """Return the work of scoring both splits before training and after each epoch."""
        epochs = training.epochs if training else 0
        samples = (epochs + 1) * sum(self.facts.samples.values())
        return Work(samples * self.forward, samples)

    def training(self, training: TrainingSpec | None) -> Work:
        """Return the work of all epochs, though a stop rule may spare some."""
        samples = training.epochs * self.facts.samples["train"] if training else 0
        return Work(FORWARD_AND_BACKWARD * samples * self.forward, samples)


def describe(run: Run, data: Path) -> Described:
    """Build the untrained network of a run, and count.

    Parameters
    ----------
    run
        The run. Neither its seed nor its label corruption matters.
    data
        Directory from which data sets are read.
    """
    import torch

    spec, settings = run.spec, run.measurements
    facts = describe_dataset(spec.dataset, data=data)
    shape = facts.input_shape
    model = construct_model(spec.model, input_shape=shape, classes=facts.classes, seed=0)
    with open_network(model, shape) as network:
        costs = Costs(network, torch.zeros(1, *shape))
        counted = _Counted(costs, network.layers, facts)
        work = {
            "record_activations": counted.passes(sum(facts.samples.values())),
            "unit_ablation": counted.unit_ablation(settings.unit_ablation),
            "cumulative_ablation": counted.cumulative_ablation(
                settings.cumulative_ablation, settings.activations.layers
            ),
            "noise_robustness": counted.noise_robustness(settings.noise_robustness),
        }
        return Described(
            name=f"{spec.dataset.name} {spec.model.name}",
            settings=settings,
            facts=facts,
            layers=choose_layers(network.layers, settings.activations.layers),
            forward=costs.forward,
            weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
            sample_bytes=costs.sample_bytes(),
            kept_bytes=network.memory.total,
            scored=scored_at_once(prod(shape)),
            from_files=spec.dataset.name in ("imagenet", "image_folder"),
            work=work,
        )


def _drawn(layers: Sequence[UnitLayer], spec: UnitAblationSpec) -> list[float]:
    """Return how many units of each layer are ablated, on average."""
    if spec.units_per_layer:
        return [min(layer.units, spec.units_per_layer) for layer in layers]
    units = sum(layer.units for layer in layers)
    return [layer.units * min(1.0, (spec.units or units) / units) for layer in layers]


@dataclass(frozen=True)
class _Counted:
    """The work of each rule on one network."""

    costs: Costs
    layers: Iterable[UnitLayer]
    facts: DatasetFacts

    def passes(self, samples: int) -> Work:
        return Work(samples * self.costs.forward, samples)

    def unit_ablation(self, spec: UnitAblationSpec | None) -> Work:
        if spec is None:
            return Work()
        samples, layers = self._scored(spec), choose_layers(tuple(self.layers), spec.layers)
        drawn = _drawn(layers, spec)
        each = self.costs.units(layers, drawn)
        each += FORWARD_AND_BACKWARD * self.costs.forward * spec.first_order
        work = self._with_reference(samples, each, spec.value)
        return replace(work, cells=round(sum(drawn)) * self.facts.classes)

    def cumulative_ablation(
        self, spec: CumulativeAblationSpec | None, recorded: LayerChoice
    ) -> Work:
        if spec is None:
            return Work()
        works = [self._curves(spec, number, recorded) for number in range(len(spec.variants))]
        return Work(sum(work.macs for work in works), sum(work.samples for work in works))

    def _curves(self, spec: CumulativeAblationSpec, number: int, recorded: LayerChoice) -> Work:
        """Return the work of one variant; only the first has orders by measures."""
        value, basis = spec.variants[number]
        along_units, of_recorded = basis == "units", basis == "principal_components"
        chosen = recorded if of_recorded and spec.layers is None else spec.layers
        layers = choose_layers(tuple(self.layers), chosen)
        orders = spec.orders + 2 * ((0 if number else len(spec.by)) + of_recorded)
        chained = along_units and value in ("zero", "mean")
        each = self.costs.curve(layers, orders=orders, points=spec.points, chained=chained)
        if not along_units:
            each += (orders * (spec.points - 2) + 1) * self.costs.turning(layers)
        return self._with_reference(self._scored(spec), each, value)

    def noise_robustness(self, spec: NoiseRobustnessSpec | None) -> Work:
        if spec is None:
            return Work()
        samples = self._scored(spec)
        return Work(samples * self.costs.noise(spec.draws * spec.scales.points), samples)

    def _scored(self, spec: UnitAblationSpec | CumulativeAblationSpec | NoiseRobustnessSpec) -> int:
        there = self.facts.samples[spec.split]
        return min(there, spec.samples or there)

    def _with_reference(self, samples: int, each: float, value: ValueName) -> Work:
        """Add the pass that finds what units are clamped to, where no file says it."""
        found = Work(samples * each, samples)
        passed = {
            "position_mean": self.facts.samples["train"],
            "class_mean": self.facts.samples["train"],
            "resample": samples,
        }.get(value, 0)
        reference = self.passes(passed)
        return Work(found.macs + reference.macs, found.samples + reference.samples)
