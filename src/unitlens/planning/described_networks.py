"""The networks of a plan before they exist: their layers, bytes, and the work of each rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import nn

from unitlens.catalogue.values import VALUES
from unitlens.config.base import LayerChoice, ValueName
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import TrainingSpec
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.config.runs import Run
from unitlens.data.describe import DatasetDimensions, describe_dataset
from unitlens.model.layers import UnitLayer
from unitlens.planning.job_estimates import FORWARD_AND_BACKWARD
from unitlens.planning.perturbation_costs import PerturbationCosts, costed_network
from unitlens.recording.maps import choose_maps
from unitlens.store.format.store_estimate import StoreEstimate, estimate_store
from unitlens.training.models import construct_model
from unitlens.training.scoring import scoring_batch_size

# Share of the pairs of a unit and a sample that a tolerance is taken to need (docs/benchmarks.md).
TOLERANCE_SHARE = 0.05


@dataclass(frozen=True)
class Work:
    """The work of one job.

    Attributes
    ----------
    macs
        Multiply-adds.
    samples
        Samples that are read.
    cells
        Pairs of unit and class with results of their own.
    """

    macs: float = 0
    samples: int = 0
    cells: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.macs + other.macs, self.samples + other.samples, self.cells + other.cells)


@dataclass(frozen=True)
class NetworkDescription:
    """Sizes and work of the networks of one data set, one model and the same measurements.

    Attributes
    ----------
    name
        Data set and model.
    settings
        Measurement settings.
    dataset
        Shape and sizes of the data set.
    layers
        Layers whose activations are recorded.
    forward
        Multiply-adds of a forward pass of one sample.
    weight_bytes
        Bytes of the weights.
    sample_bytes
        Most bytes of one sample at any time of a forward pass.
    graph_bytes
        Bytes of all results of operations on one sample, which a backward pass needs.
    scoring_batch
        Samples of a batch that is scored.
    from_files
        Whether samples are images that are read and decoded each time.
    work
        Each rule that runs a trained network, to the work of its job.
    """

    name: str
    settings: MeasurementSpec
    dataset: DatasetDimensions
    layers: tuple[UnitLayer, ...]
    forward: int
    weight_bytes: int
    sample_bytes: int
    graph_bytes: int
    scoring_batch: int
    from_files: bool
    work: dict[str, Work]

    @property
    def units(self) -> int:
        """Number of recorded units."""
        return sum(layer.units for layer in self.layers)

    def store(self, samples: int, *, maps: bool = True) -> StoreEstimate:
        """Estimate a store of the network.

        Parameters
        ----------
        samples
            Number of samples.
        maps
            Whether the store has the feature maps of the settings.
        """
        settings = self.settings.activations
        return estimate_store(
            self.layers,
            samples,
            dtype=settings.dtype,
            reductions=settings.reductions,
            maps=choose_maps(settings.maps if maps else None, self.layers, samples),
        )

    def scoring(self, training: TrainingSpec | None) -> Work:
        """Return the work of scoring both splits before training, after epochs and at looks."""
        epochs, looks = (training.epochs, training.checkpoints) if training else (0, ())
        times = 1 + epochs + sum(look != int(look) for look in looks)
        samples = times * sum(self.dataset.samples.values())
        return Work(samples * self.forward, samples)

    def training(self, training: TrainingSpec | None) -> Work:
        """Return the work of all epochs, an upper bound where a stop rule is given."""
        samples = training.epochs * self.dataset.samples["train"] if training else 0
        return Work(FORWARD_AND_BACKWARD * samples * self.forward, samples)


def construct_untrained(run: Run, data: Path) -> tuple[nn.Module, DatasetDimensions]:
    """Build the network of a run without its weights, and describe its data set.

    Parameters
    ----------
    run
        The run. Seed and label corruption do not matter.
    data
        Directory from which data sets are read.
    """
    spec = run.spec
    dataset = describe_dataset(spec.dataset, data=data)
    shape, classes = dataset.input_shape, dataset.classes
    return construct_model(spec.model, input_shape=shape, classes=classes, seed=0), dataset


def describe_network(run: Run, data: Path) -> NetworkDescription:
    """Build the untrained network of a run, and count its units, bytes and multiply-adds.

    Parameters
    ----------
    run
        The run. Seed and label corruption do not matter.
    data
        Directory from which data sets are read.
    """
    spec, settings = run.spec, run.measurements
    model, dataset = construct_untrained(run, data)
    shape = dataset.input_shape
    with costed_network(model, shape) as network:
        costs = PerturbationCosts(network, torch.zeros(1, *shape))
        counter = _WorkCounter(costs, network.choose, dataset)
        work = {
            "record_activations": counter.passes(sum(dataset.samples.values())),
            "unit_ablation": counter.unit_ablation(settings.unit_ablation),
            "cumulative_ablation": counter.cumulative_ablation(
                settings.cumulative_ablation, settings.activations.layers
            ),
            "noise_robustness": counter.noise_robustness(settings.noise_robustness),
        }
        return NetworkDescription(
            name=f"{spec.dataset.name} {spec.model.name}",
            settings=settings,
            dataset=dataset,
            layers=network.choose(settings.activations.layers),
            forward=costs.forward,
            weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
            sample_bytes=costs.sample_bytes(),
            graph_bytes=network.memory.total,
            scoring_batch=scoring_batch_size(prod(shape)),
            from_files=spec.dataset.from_files,
            work=work,
        )


def _pair_share(spec: UnitAblationSpec) -> float:
    """Return the share of the pairs of a unit and a sample that are run."""
    if spec.tolerance is not None:
        return TOLERANCE_SHARE
    return 1.0 if spec.rate is None else spec.rate


def _ablated_units(layers: Sequence[UnitLayer], spec: UnitAblationSpec) -> list[float]:
    """Return the expected number of ablated units of each layer."""
    if spec.units_per_layer:
        return [min(layer.units, spec.units_per_layer) for layer in layers]
    units = sum(layer.units for layer in layers)
    return [layer.units * min(1.0, (spec.units or units) / units) for layer in layers]


@dataclass(frozen=True)
class _WorkCounter:
    """Counts the work of each rule on one network."""

    costs: PerturbationCosts
    choose: Callable[[LayerChoice], tuple[UnitLayer, ...]]
    dataset: DatasetDimensions

    def passes(self, samples: int) -> Work:
        return Work(samples * self.costs.forward, samples)

    def unit_ablation(self, spec: UnitAblationSpec | None) -> Work:
        if spec is None:
            return Work()
        layers = self.choose(spec.layers)
        units = _ablated_units(layers, spec)
        share = _pair_share(spec)
        macs = self.costs.units(layers, [share * count for count in units])
        macs += FORWARD_AND_BACKWARD * self.costs.forward * spec.gradient_passes
        work = self._with_reference(self._scored(spec), macs, spec.value)
        sums = 1 if share == 1 else 2  # variances of drawing pairs too
        return replace(work, cells=sums * round(sum(units)) * self.dataset.classes)

    def cumulative_ablation(
        self, spec: CumulativeAblationSpec | None, recorded: LayerChoice
    ) -> Work:
        if spec is None:
            return Work()
        variants = range(len(spec.variants))
        return sum((self._curves(spec, number, recorded) for number in variants), Work())

    def _curves(self, spec: CumulativeAblationSpec, number: int, recorded: LayerChoice) -> Work:
        """Return the work of one variant. Only the first variant has orders by measures."""
        value, basis = spec.variants[number]
        along_units, along_components = basis == "units", basis == "principal_components"
        choice = recorded if along_components and spec.layers is None else spec.layers
        layers = self.choose(choice)
        orders = spec.orders + 2 * ((0 if number else len(spec.by)) + along_components)
        chained = along_units and VALUES[value].constant
        macs = self.costs.curve(layers, orders=orders, points=spec.points, chained=chained)
        if not along_units:
            macs += (orders * (spec.points - 2) + 1) * self.costs.basis_change(layers)
        return self._with_reference(self._scored(spec), macs, value)

    def noise_robustness(self, spec: NoiseRobustnessSpec | None) -> Work:
        if spec is None:
            return Work()
        samples = self._scored(spec)
        variants = spec.draws * spec.scales.points
        return Work(samples * self.costs.noise(self.choose(spec.layers), variants), samples)

    def _scored(self, spec: UnitAblationSpec | CumulativeAblationSpec | NoiseRobustnessSpec) -> int:
        """Return the number of samples that a perturbation scores."""
        samples = self.dataset.samples[spec.split]
        return min(samples, spec.samples or samples)

    def _with_reference(self, samples: int, macs: float, value: ValueName) -> Work:
        """Return the work of an ablation, with the passes that compute its value.

        Parameters
        ----------
        samples
            Number of samples that are scored.
        macs
            Multiply-adds of the ablation per scored sample.
        value
            Name of the value that units are clamped to.
        """
        reference = self.dataset.samples["train"]
        extra = VALUES[value].extra_samples(scored=samples, reference=reference)
        return Work(samples * macs, samples) + self.passes(extra)
