"""A network, the data set it is scored on, and the layers that are perturbed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unitlens.config import LastLayers
from unitlens.errors import ArgumentError
from unitlens.networks.batches import Indices, MapStyle, iterate_batches, sample_indices
from unitlens.networks.layers import UnitNetwork, choose_layers
from unitlens.perturbation.engine import Engine
from unitlens.perturbation.scores import Floats, score
from unitlens.progress import track

LayerChoice = Sequence[str] | LastLayers | None


@dataclass(frozen=True)
class Settings:
    """What all perturbations have in common; see :func:`unitlens.unit_ablation`."""

    layers: LayerChoice
    samples: int | None
    seed: int
    batch_size: int
    device: torch.device | str
    memory_gb: float


@dataclass(frozen=True)
class Batch:
    """One batch: its first sample's place among those that are scored, inputs, and labels."""

    start: int
    inputs: Tensor
    labels: Tensor


class Session:
    """Batches of the scored samples beside the engine that perturbs the network on them."""

    def __init__(
        self,
        network: UnitNetwork,
        dataset: MapStyle,
        indices: Indices,
        example: Tensor,
        settings: Settings,
    ) -> None:
        self.network = network
        self.layers = choose_layers(network.layers, settings.layers)
        self.units = sum(layer.units for layer in self.layers)
        self.samples = len(indices)
        self.device = network.device
        self._dataset, self._indices, self._settings = dataset, indices, settings
        budget = settings.memory_gb * 1e9
        self.engine = Engine(network, self.layers, network.ready(example), budget=budget)

    def batches(self, description: str) -> Iterator[Batch]:
        """Read the scored samples, showing progress."""
        for start, inputs, labels in self._read(self._dataset, self._indices, description):
            self._check(labels)
            yield Batch(start, inputs, labels)

    def inputs_of(self, dataset: MapStyle, description: str) -> Iterator[Tensor]:
        """Read the inputs of another data set, all of it."""
        for _, inputs, _ in self._read(dataset, np.arange(len(dataset)), description):
            yield inputs

    def attributes(self) -> dict[str, object]:
        """Return what every result says of how it came about."""
        return {
            "samples": self.samples,
            "seed": self._settings.seed,
            "layers": [layer.name for layer in self.layers],
        }

    def split(self, by_unit: Tensor) -> dict[str, Tensor]:
        """Split an array whose last axis is the units of all layers by layer."""
        parts = torch.split(by_unit, [layer.units for layer in self.layers], dim=-1)
        return {layer.name: part for layer, part in zip(self.layers, parts, strict=True)}

    def tensor(self, values: Floats) -> Tensor:
        """Return values of units in the network's dtype, on its device."""
        return torch.as_tensor(values, dtype=self.network.dtype, device=self.device)

    def _read(
        self, dataset: MapStyle, indices: Indices, description: str
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        size = self.engine.batch_size(self._settings.batch_size)
        batches = iterate_batches(dataset, size, indices=indices, device=self.device)
        start = 0
        for _, inputs, labels in track(batches, description, total=-(-len(indices) // size)):
            yield start, self.network.ready(inputs), labels
            start += len(inputs)

    def _check(self, labels: Tensor) -> None:
        wrong = labels[(labels < 0) | (labels >= self.engine.output_shape[1])]
        if len(wrong):
            raise ArgumentError(
                f"the data set has the label {int(wrong[0])}, but the model puts out "
                f"{self.engine.output_shape[1]} logits, so labels must be 0 to {self.engine.output_shape[1] - 1}"
            )


@contextmanager
def open_session(model: nn.Module, dataset: MapStyle, settings: Settings) -> Iterator[Session]:
    """Borrow the model and check the settings.

    Raises
    ------
    ArgumentError
        Where the data set is empty or a number is out of its range.
    LayerError, ModelError
        As the layers and the model have it.
    """
    for name, least in (("samples", 1), ("batch_size", 1), ("seed", 0)):
        number = getattr(settings, name)
        if number is not None and number < least:
            raise ArgumentError(f"{name} is {number}, but must be at least {least}")
    if not settings.memory_gb > 0:
        raise ArgumentError(f"memory_gb is {settings.memory_gb}, but must be above 0")
    if len(dataset) == 0:
        raise ArgumentError("the data set is empty, but must have at least one sample")
    indices = sample_indices(len(dataset), settings.samples, settings.seed)
    _, example, _ = next(iterate_batches(dataset, 3, indices=indices[:3]))
    with UnitNetwork(model, example, device=settings.device, simplified=True) as network:
        yield Session(network, dataset, indices, example, settings)


class Baseline:
    """Mean loss and accuracy of the network as it is, summed batch by batch."""

    def __init__(self) -> None:
        self._loss = self._hits = 0.0
        self._samples = 0

    def add(self, engine: Engine, batch: Batch) -> tuple[Tensor, Tensor]:
        """Score a batch, and return loss and hit of each sample."""
        losses, hits = score(engine.logits(batch.inputs), batch.labels)
        self._loss += float(losses.sum())
        self._hits += float(hits.sum())
        self._samples += len(losses)
        return losses, hits

    def attributes(self) -> dict[str, float]:
        """Return the means under the names of result attributes."""
        return {
            "baseline_loss": self._loss / self._samples,
            "baseline_accuracy": self._hits / self._samples,
        }
