"""Hours and memory of one job of each rule, by the measured rates."""

from dataclasses import dataclass, replace
from math import ceil, log
from typing import TYPE_CHECKING

import numpy as np

from unitlens.config.networks import TrainingSpec
from unitlens.planning import rates

if TYPE_CHECKING:
    from unitlens.planning.described_networks import NetworkDescription, Work

# Passes of a gradient: for each product of a forward pass a backward pass computes two.
FORWARD_AND_BACKWARD = 3
UNPERTURBED_PASSES = 2  # that each part of a perturbation makes
FLOP = 2  # floating-point operations of a multiply-add
PERTURBATION_BYTES = 2_000_000_000  # that perturbations take on a CPU by themselves
COUNT_BYTES, NUMBER_BYTES = 4, 8  # of a count of a histogram, and of another number
# Numbers for each unit and class: of a mergeable state of the class statistics, of their table,
# and of unit ablation while it turns sums into means, standard errors and intervals.
STATE_NUMBERS, TABLE_NUMBERS, ABLATION_NUMBERS = 4, 5, 13
DECOMPOSITION_MATRICES = 5  # square matrices of a layer's units in memory during a decomposition
MERGED_STATES = 4  # states of shards that are merged at a time, in a tree


@dataclass(frozen=True)
class Machine:
    """The speed of a machine.

    Attributes
    ----------
    gflops
        GFLOP/s in forward passes.
    read_mb
        MB/s read from the disk.
    """

    gflops: float
    read_mb: float


@dataclass(frozen=True)
class JobEstimator:
    """Estimates hours and memory of one job on a machine.

    Attributes
    ----------
    machine
        The machine.
    """

    machine: Machine

    def hours(self, rule: str, network: "NetworkDescription") -> float:
        """Return the hours of a job; 0 for rules whose jobs take seconds to minutes.

        Parameters
        ----------
        rule
            Name of the rule.
        network
            Description of the network that the job works on.
        """
        if rule == "class_statistics":
            return self._statistics_seconds(network) / 3600
        if rule == "principal_components":
            return self._components_seconds(network) / 3600
        if rule not in network.work:
            return 0.0
        return self._work_hours(rule, network.work[rule], from_files=network.from_files)

    def part_hours(self, perturbation: str, network: "NetworkDescription", parts: int) -> float:
        """Return the hours of one of the jobs that share a perturbation.

        Each of them runs the unperturbed network over all samples, and computes the gradients that
        first-order estimates and drawn pairs take; the rest is shared evenly.

        Parameters
        ----------
        perturbation
            Name of the rule of the whole.
        network
            Description of the network.
        parts
            Number of jobs.
        """
        repeated = self.repeated_hours(perturbation, network)
        return repeated + (self.hours(perturbation, network) - repeated) / parts

    def repeated_hours(self, perturbation: str, network: "NetworkDescription") -> float:
        """Return the hours of the passes that each job that shares a perturbation makes.

        Parameters
        ----------
        perturbation
            Name of the rule of the whole.
        network
            Description of the network.
        """
        work = network.work[perturbation]
        section = getattr(network.settings, perturbation)
        gradients = getattr(section, "gradient_passes", 0)
        passes = UNPERTURBED_PASSES + FORWARD_AND_BACKWARD * gradients
        macs = min(work.macs, passes * network.forward * work.samples)
        repeated = replace(work, macs=macs)
        return self._work_hours(perturbation, repeated, from_files=network.from_files)

    def training_hours(self, network: "NetworkDescription", training: TrainingSpec | None) -> float:
        """Return the hours of all epochs of a training and of their scores.

        Parameters
        ----------
        network
            Description of the network.
        training
            Settings of the training; None for a network that is only scored.
        """
        scoring, steps = network.scoring(training), network.training(training)
        return sum(
            self._work_hours(kind, work, from_files=network.from_files)
            for kind, work in (("score", scoring), ("train", steps))
        )

    def _work_hours(self, kind: str, work: "Work", *, from_files: bool) -> float:
        """Return the hours of work of a kind, a key of ``rates.SHARES``."""
        speed = self.machine.gflops * rates.SHARES[kind].value
        decoding = work.samples / rates.IMAGES.value if from_files else 0.0
        return (work.macs * FLOP / (speed * 1e9) + decoding) / 3600

    def _statistics_seconds(self, network: "NetworkDescription") -> float:
        """Return the seconds of the class statistics, by the slower of disk and processor."""
        stored = compressed_bytes(network, maps=False)  # the pass does not read maps
        reading = stored / (self.machine.read_mb * 1e6)
        item = np.dtype(network.settings.activations.dtype).itemsize
        activations = network.units * sum(network.dataset.samples.values()) * item
        return max(reading, activations / (rates.STATISTICS.value * 1e6))

    def _components_seconds(self, network: "NetworkDescription") -> float:
        """Return the seconds of the principal components, by the slower of disk and products.

        The products are those of all units of a layer with each other.
        """
        section = network.settings.principal_components
        split = section.split if section else "train"
        stored = compressed_bytes(network, split)
        squares = sum(layer.units**2 for layer in network.layers)
        speed = self.machine.gflops * rates.SHARES["principal_components"].value * 1e9
        products = network.dataset.samples[split] * squares * FLOP / speed
        return max(stored / (self.machine.read_mb * 1e6), products)

    def memory(self, rule: str, network: "NetworkDescription") -> int:
        """Return the approximate bytes of memory of a job.

        Parameters
        ----------
        rule
            Name of the rule.
        network
            Description of the network that the job works on.
        """
        if rule == "record_activations":
            return rates.PROCESS_BYTES + network.weight_bytes + _recording_memory(network)
        if rule == "class_statistics":
            return rates.PROCESS_BYTES + _statistics_memory(network)
        if rule == "unit_measures":
            cells = network.units * network.dataset.classes
            return rates.PROCESS_BYTES + 2 * cells * (
                _histogram_bytes(network) + TABLE_NUMBERS * NUMBER_BYTES
            )
        if rule == "principal_components":
            matrices = _states(network) + DECOMPOSITION_MATRICES
            return rates.PROCESS_BYTES + matrices * _widest(network) ** 2 * NUMBER_BYTES
        results = network.work[rule].cells * ABLATION_NUMBERS * NUMBER_BYTES
        limit = getattr(network.settings, rule).memory_gb
        held = PERTURBATION_BYTES if limit == "auto" else int(limit * 1e9)
        return rates.PROCESS_BYTES + network.weight_bytes + held + results

    def training_memory(self, network: "NetworkDescription", training: TrainingSpec | None) -> int:
        """Return the bytes of memory of a training.

        A step holds the weights, their gradients, two numbers of the optimizer for each weight, and
        the results of all operations on its batch.

        Parameters
        ----------
        network
            Description of the network.
        training
            Settings of the training; None for a network that is only scored.
        """
        scoring = network.scoring_batch * network.sample_bytes
        if training is None:
            return rates.PROCESS_BYTES + network.weight_bytes + scoring
        step = 3 * network.weight_bytes + training.batch_size * network.graph_bytes
        return rates.PROCESS_BYTES + network.weight_bytes + max(step, scoring)


def _recording_memory(network: "NetworkDescription") -> int:
    """Return the bytes of the buffers and of a batch of a recording."""
    from unitlens.recording.kept_arrays import BATCH_BYTES

    store = network.store(max(network.dataset.samples.values()))
    batch_size = network.settings.activations.batch_size or 0
    return store.memory + (batch_size * network.sample_bytes or BATCH_BYTES)


def _statistics_memory(network: "NetworkDescription") -> int:
    """Return the bytes of the class statistics: those of the pass, or of its end if more.

    The pass holds the states of finished layers, and the states of the widest layer that are not
    yet merged. The end is counted with two copies of the histograms, which is an upper bound: the
    states are copied to the table in turn, some 64 MiB at a time.
    """
    histogram = _histogram_bytes(network)
    classes = network.dataset.classes
    cells = network.units * classes
    unmerged = _states(network) * _widest(network) * classes
    reading = (cells + unmerged) * (histogram + STATE_NUMBERS * NUMBER_BYTES)
    end = cells * (2 * histogram + (STATE_NUMBERS + 2 * TABLE_NUMBERS) * NUMBER_BYTES)
    return max(reading, end)


def _histogram_bytes(network: "NetworkDescription") -> int:
    """Return the bytes of the histogram of one unit and class."""
    return (network.settings.statistics.fine_bins + 1) * COUNT_BYTES


def _widest(network: "NetworkDescription") -> int:
    """Return the number of units of the widest recorded layer."""
    return max(layer.units for layer in network.layers)


def _states(network: "NetworkDescription") -> int:
    """Return the most states of the widest layer that are in memory while its shards are merged."""
    from unitlens.store.format.layout import DEFAULT_LAYOUT

    item = np.dtype(network.settings.activations.dtype).itemsize
    size = max(network.dataset.samples.values()) * _widest(network) * item
    shards = max(1, size // DEFAULT_LAYOUT.shard_bytes)
    return max(2, (MERGED_STATES - 1) * ceil(log(shards, MERGED_STATES)))


def compressed_bytes(
    network: "NetworkDescription", split: str | None = None, *, maps: bool = True
) -> int:
    """Return the bytes of a network's stores after compression, by the measured ratios.

    Parameters
    ----------
    network
        Description of the network.
    split
        The split; both if None.
    maps
        Whether the stores have the feature maps of the settings.
    """
    settings, total = network.settings.activations, 0.0
    for name, samples in network.dataset.samples.items():
        if split not in (None, name):
            continue
        size = network.store(samples, maps=maps).bytes
        if settings.codec == "none":
            total += size
            continue
        item = np.dtype(settings.dtype).itemsize
        for has_maps, ratio in ((True, rates.MAPS), (False, rates.NEURONS)):
            layers = [layer for layer in network.layers if (len(layer.shape) > 1) is has_maps]
            activations = sum(layer.units for layer in layers) * samples * item
            size -= activations
            total += activations / ratio.value
        total += size
    return round(total)
