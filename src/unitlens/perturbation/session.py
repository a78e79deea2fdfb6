"""A network, the data set it is scored on, and the layers that are perturbed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.config.base import LastLayers
from unitlens.data.batches import (
    Indices,
    MapStyle,
    iterate_batches,
    sample_indices,
)
from unitlens.errors import ArgumentError, DatasetError
from unitlens.model.layers import choose_layers
from unitlens.model.network import UnitNetwork
from unitlens.model.precision import Precision, passes_in, stored_dtype
from unitlens.perturbation.engine.engine import Engine, Perturbed
from unitlens.perturbation.scores import Floats, ScoreChoice, make_score
from unitlens.progress import track
from unitlens.variables.checks import annotate

SIMPLIFIED = 1 / 4  # share of memory up to which a network is simplified, which copies its weights

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
    score: ScoreChoice = "top1"
    precision: Precision = None


@dataclass(frozen=True)
class Batch:
    """One batch: its first sample's place among those that are scored, inputs, and targets.

    `classes` has the class of each sample: its target, or 0 where targets are no classes.
    """

    start: int
    inputs: Tensor
    targets: Tensor
    classes: Tensor


class Session:
    """Batches of the scored samples beside the engine that perturbs the network on them.

    Attributes
    ----------
    dataset, indices
        The data set, and which of its samples are scored.
    seed
        Of all that is drawn at random.
    score
        How outputs are scored.
    by_class
        Whether targets are classes: integers, one a sample.
    classes
        Number of classes as far as the outputs tell; 1 where targets are no classes.
    """

    def __init__(
        self,
        network: UnitNetwork,
        dataset: MapStyle,
        indices: Indices,
        example: tuple[Tensor, Tensor],
        settings: Settings,
        perturbed: Perturbed,
    ) -> None:
        inputs, targets = example
        self.network = network
        self.layers = choose_layers(network.layers, settings.layers)
        self.units = sum(layer.units for layer in self.layers)
        self.samples = len(indices)
        self.device = network.device
        self.dataset, self.indices, self.seed = dataset, indices, settings.seed
        self._settings = settings
        self.engine = Engine(
            network,
            self.layers,
            network.ready(inputs),
            budget=settings.memory_gb * 1e9,
            target_bytes=targets[0].nbytes,
            perturbed=perturbed,
            updates=settings.precision != "bfloat16",
        )
        self.score = make_score(settings.score)
        shape = self.engine.output_shape
        self.score.check(shape)
        self._kind = targets.dtype
        self.by_class = are_classes(targets)
        width = shape[1] if len(shape) == 2 else 0
        self.classes = width if self.by_class else 1

    def batches(
        self, description: str, *, at_most: int | None = None, kept_bytes: int = 0
    ) -> Iterator[Batch]:
        """Read the scored samples, showing progress.

        Parameters
        ----------
        description
            What the progress is of.
        at_most
            So many samples at once.
        kept_bytes
            Bytes that are kept for each sample beside what the engine needs.
        """
        size = self._batch_size(at_most, kept_bytes)
        for start, inputs, targets in self._read(self.dataset, self.indices, description, size):
            yield Batch(start, inputs, targets, self._classes_of(targets))

    def samples_of(self, dataset: MapStyle, description: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Read the inputs and targets of another data set, all of it, showing progress."""
        everyone, size = np.arange(len(dataset)), self._batch_size()
        for _, inputs, targets in self._read(dataset, everyone, description, size):
            yield inputs, targets

    def inputs_at(self, dataset: MapStyle, indices: Indices) -> Tensor:
        """Read some inputs of another data set at once."""
        ((_, inputs, _),) = iterate_batches(
            dataset, len(indices), indices=indices, device=self.device, targets=self.score.targets
        )
        return self.network.ready(inputs)

    def attributes(self) -> dict[str, object]:
        """Return what every result says of how it came about."""
        return {
            "samples": self.samples,
            "seed": self._settings.seed,
            "layers": [layer.name for layer in self.layers],
            "score": self.score.name,
            "precision": self._settings.precision or str(self.network.dtype).split(".")[-1],
        }

    def annotated(self, table: xr.Dataset, schema: str) -> xr.Dataset:
        """Return a table with its declared attributes; only a built-in loss is known as nats."""
        table = annotate(table, schema)
        for array in table.variables.values() if self.score.top is None else ():
            if array.attrs.get("units") == "nats":
                array.attrs["units"] = ""
        return table

    def split(self, by_unit: Tensor) -> dict[str, Tensor]:
        """Split an array whose last axis is the units of all layers by layer."""
        parts = torch.split(by_unit, [layer.units for layer in self.layers], dim=-1)
        return {layer.name: part for layer, part in zip(self.layers, parts, strict=True)}

    def tensor(self, values: Floats | Tensor) -> Tensor:
        """Return values of units in the network's dtype, on its device."""
        return torch.as_tensor(values, dtype=self.network.dtype, device=self.device)

    def _batch_size(self, at_most: int | None = None, kept_bytes: int = 0) -> int:
        size = self.engine.batch_size(self._settings.batch_size, kept_bytes)
        return size if at_most is None else min(size, at_most)

    def _read(
        self, dataset: MapStyle, indices: Indices, description: str, size: int
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        batches = iterate_batches(
            dataset, size, indices=indices, device=self.device, targets=self.score.targets
        )
        start = 0
        for _, inputs, targets in track(batches, description, total=-(-len(indices) // size)):
            yield start, self.network.ready(inputs), targets
            start += len(inputs)

    def _classes_of(self, targets: Tensor) -> Tensor:
        if targets.dtype != self._kind:
            raise DatasetError(
                f"the data set has targets of {targets.dtype} and of {self._kind}; give all one "
                "type"
            )
        if not self.by_class:
            return torch.zeros(len(targets), dtype=torch.int64, device=targets.device)
        classes = targets.long()
        known = self.classes if self.score.top is not None else torch.iinfo(torch.int64).max
        wrong = classes[(classes < 0) | (classes >= known)]
        if not len(wrong):
            return classes
        if self.score.top is None:
            raise ArgumentError(
                f"the data set has the target {int(wrong[0])}, but integers are taken as classes, "
                "so they must be at least 0; give numbers as floats"
            )
        raise ArgumentError(
            f"the data set has the label {int(wrong[0])}, but the model puts out "
            f"{self.classes} logits, so labels must be 0 to {self.classes - 1}"
        )


def are_classes(targets: Tensor) -> bool:
    """Tell whether targets are integers, one a sample."""
    return targets.dim() == 1 and not (targets.is_floating_point() or targets.is_complex())


@contextmanager
def open_session(
    model: nn.Module, dataset: MapStyle, settings: Settings, perturbed: Perturbed
) -> Iterator[Session]:
    """Borrow the model and check the settings.

    Parameters
    ----------
    model, dataset, settings
        What is measured, and how.
    perturbed
        What the session's engine will be asked for.

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
    dtype = stored_dtype(settings.precision)
    if len(dataset) == 0:
        raise ArgumentError("the data set is empty, but must have at least one sample")
    kind = make_score(settings.score).targets
    indices = sample_indices(len(dataset), settings.samples, settings.seed)
    _, *example = next(iterate_batches(dataset, 3, indices=indices[:3], targets=kind))
    light = sum(p.nbytes for p in model.parameters()) <= SIMPLIFIED * settings.memory_gb * 1e9
    borrowed = UnitNetwork(model, example[0], device=settings.device, dtype=dtype, simplified=light)
    with passes_in(settings.precision, settings.device), borrowed as network:
        yield Session(network, dataset, indices, (example[0], example[1]), settings, perturbed)


class Baseline:
    """Mean loss and hit of the network as it is, summed batch by batch."""

    def __init__(self) -> None:
        self._loss = self._hits = 0.0
        self._samples = 0

    def add(
        self, session: Session, batch: Batch, logits: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Score a batch, whose logits may be given, and return loss and hit of each sample."""
        if logits is None:
            logits = session.engine.logits(batch.inputs)
        losses, hits = session.score(logits, batch.targets)
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
