"""Sessions: a network that is open for perturbation, and the samples on which it is scored."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.data.batches import iterate_batches, sample_indices
from unitlens.data.items import ItemForm
from unitlens.data.labels import label_remedy
from unitlens.data.map_style import Indices, WholeBatches
from unitlens.data.positions import IGNORED, Positions, check_positions, whole_items
from unitlens.data.repeated_reading import DATA_REMEDY, RANDOM_DATA, find_random_data
from unitlens.data.samples import Samples, open_samples
from unitlens.errors import ArgumentError, DatasetError
from unitlens.memory_errors import telling_remedy
from unitlens.model.device_memory import MemoryLimit, memory_limit
from unitlens.model.devices import DeviceChoice, describe_device, find_device
from unitlens.model.inputs import PADDING, AnyInputs, has_padding
from unitlens.model.layers import LayersChosen, is_by_name
from unitlens.model.network import UnitNetwork
from unitlens.model.outputs import OutputChoice
from unitlens.model.precision import Precision, forward_precision, stored_dtype
from unitlens.model.repeatability import REMEDIES
from unitlens.model.wrapped_modules import unwrap
from unitlens.perturbation.call_identity import CallIdentity
from unitlens.perturbation.doubts import ResultDoubts
from unitlens.perturbation.engine.engine import Engine, Perturbed
from unitlens.perturbation.engine.steps import IsDue, every_step
from unitlens.perturbation.partial_calls import PartialCall
from unitlens.perturbation.position_scores import score_positions
from unitlens.perturbation.saved_sums import saved_limit
from unitlens.perturbation.score_output import read_for_score
from unitlens.perturbation.scores import Floats, Score, ScoreChoice, are_classes, make_score
from unitlens.progress import track
from unitlens.user_warnings import warn_of_doubts
from unitlens.variables.checks import annotate

logger = logging.getLogger("unitlens")
# Simplifying a network copies its weights: largest share of the memory limit that copies may take.
SIMPLIFIED = 1 / 4

LayerChoice = LayersChosen


@dataclass(frozen=True)
class Settings:
    """The arguments that all perturbations share; see :func:`unitlens.unit_ablation`."""

    layers: LayerChoice
    samples: int | None
    seed: int
    batch_size: int
    device: DeviceChoice
    memory_gb: MemoryLimit
    score: ScoreChoice = "top1"
    precision: Precision = None
    output: OutputChoice = None
    form: ItemForm = field(default_factory=ItemForm)
    positions: Positions = None
    call: PartialCall | None = None


@dataclass(frozen=True)
class Batch:
    """One batch of scored samples.

    Attributes
    ----------
    positions
        Position of each sample among the scored samples, (samples,).
    inputs, targets
        Inputs of the network and targets of the score, samples on axis 0.
    classes
        Class of each sample, (samples,): the target, or 0 where targets are not classes.
    is_due
        Function of the engine's steps that tells which steps on the batch run.
    """

    positions: Indices
    inputs: AnyInputs
    targets: Tensor
    classes: Tensor
    is_due: IsDue = every_step

    @property
    def start(self) -> int:
        """Position of the first sample among the scored samples."""
        return int(self.positions[0])


class Session:
    """An open network with its engine, and batches of the scored samples.

    Attributes
    ----------
    network, layers
        The network, and its layers whose units are perturbed.
    units
        Number of units of all these layers.
    dataset, indices
        The data set, and the indices of the scored samples.
    samples
        Number of scored samples.
    seed
        Seed of all random draws.
    score
        The score of an output.
    memory_bytes
        Limit in bytes of the memory, beside the model and the data set.
    by_class
        Whether targets are classes: one integer per sample.
    classes
        Number of classes, as far as the width of the output tells; 1 where targets are not classes.
    doubts
        What makes results doubtful.
    identity
        Identity of the call; None where a whole call saves no sums.
    """

    def __init__(
        self,
        network: UnitNetwork,
        dataset: Samples,
        indices: Indices,
        example: tuple[AnyInputs, Tensor],
        settings: Settings,
        perturbed: Perturbed,
        score: Score,
        memory_bytes: float,
        identity: CallIdentity | None = None,
    ) -> None:
        inputs, targets = example
        self.memory_bytes = memory_bytes
        self.identity = identity
        self.network = network
        self.samples = len(indices)
        self.device = network.device
        self.dataset, self.indices, self.seed = dataset, indices, settings.seed
        self._settings = settings
        names = dataset.classes
        classes = None if names is None else len(names)
        self.score = read_for_score(network, score, targets, settings.output, classes)
        self.layers = network.choose(settings.layers)
        self._left_out = {} if is_by_name(settings.layers) else network.layers.left_out
        self.units = sum(layer.units for layer in self.layers)
        self.engine = Engine(
            network,
            self.layers,
            network.ready(inputs),
            budget=self.memory_bytes,
            target_bytes=targets[0].nbytes,
            perturbed=perturbed,
            updates=settings.precision != "bfloat16",
        )
        repeatability = self.engine.repeatability
        self._least_batch = repeatability.least_batch
        repeatability.check_batch_size(settings.batch_size)
        doubts = (*repeatability.doubts, *find_random_data(dataset, self.score.targets))
        warn_of_doubts(doubts, REMEDIES | {RANDOM_DATA: DATA_REMEDY})
        self.doubts = ResultDoubts(doubts)
        shape = self.engine.output_shape
        self.score.check(shape)
        self._target_dtype = targets.dtype
        self.by_class = are_classes(targets)
        width = shape[1] if len(shape) == 2 else 0
        self.classes = width if self.by_class else 1
        if self.score.top is not None:
            dataset.check_width(width)
        if identity is not None:
            self._identify(identity)

    def _identify(self, identity: CallIdentity) -> None:
        """Take the arguments that all perturbations share into account."""
        own = self._settings
        identity.add_setting(
            [(layer.name, layer.axis, layer.units) for layer in self.layers],
            self.samples, own.seed, own.score, self.network.dtype, own.precision, own.output,
            own.form.target, own.form.collate_fn, own.form.ignore_index, own.positions,
        )  # fmt: skip

    def batches(
        self,
        description: str,
        *,
        at_most: int | None = None,
        kept_bytes: int = 0,
        positions: Indices | None = None,
    ) -> Iterator[Batch]:
        """Read the scored samples in batches, and show the progress.

        Parameters
        ----------
        description
            Name of the computation in the progress display.
        at_most
            Largest number of samples per batch.
        kept_bytes
            Bytes per sample that the caller holds, beside the memory of the engine.
        positions
            Positions, among the scored samples, of the samples to read; all samples if None.
        """
        size = self.batch_size(at_most, kept_bytes)
        read = np.arange(self.samples) if positions is None else positions
        of_data = self.indices[read]
        for start, inputs, targets in self._read(self.dataset, of_data, description, size):
            rows = read[start : start + len(inputs)]
            yield Batch(rows, inputs, targets, self._classes_of(targets))

    def open_reference(self, reference: Any) -> Samples:
        """Return the samples of a reference, read as the scored samples are; those if None."""
        if reference is None or reference is self.dataset.given:
            return self.dataset
        return open_samples(reference, self.dataset.form, self.network.model)

    def reference_batches(self, reference: Samples) -> Iterator[tuple[AnyInputs, Tensor]]:
        """Read the inputs and targets of all samples of a reference, and show the progress.

        Raises
        ------
        ArgumentError
            Where the reference is empty.
        """
        if len(reference) == 0:
            raise ArgumentError("reference is empty, but must have at least one sample")
        indices, size = np.arange(len(reference)), self.batch_size()
        told = False
        for _, inputs, targets in self._read(reference, indices, "mean activations", size):
            if not told and has_padding(inputs):
                told = True
                logger.warning(PADDING)
            if self.identity is not None:
                self.identity.see_reference(inputs, targets)
            yield inputs, targets

    def inputs_at(self, reference: Samples, indices: Indices) -> AnyInputs:
        """Read the inputs of some samples of a reference, as one batch."""
        ((_, inputs, _),) = iterate_batches(
            reference, len(indices), indices=indices, device=self.device, targets=self.score.targets
        )
        return self.network.ready(inputs)

    def attributes(self) -> dict[str, object]:
        """Return the attributes of a result that tell how the result was computed."""
        attributes = {
            "samples": self.samples,
            "seed": self._settings.seed,
            "layers": [layer.name for layer in self.layers],
            **({"layers_left_out": [*self._left_out]} if self._left_out else {}),
            "score": self.score.name,
            "precision": self._settings.precision or str(self.network.dtype).split(".")[-1],
            "device": describe_device(self.device),
            **self.doubts.attributes(self.network.doubts),
        }
        if self.network.output.name != "":
            attributes["output"] = self.network.output.name
        if self._settings.positions is not None:
            attributes["positions"] = self._settings.positions
        if self.identity is not None:
            attributes |= self.identity.attributes()
        return {**attributes, **self.dataset.attributes()}

    def annotated(self, table: xr.Dataset, schema: str) -> xr.Dataset:
        """Return a table with its declared attributes.

        Only a built-in loss is known to be in nats: under a user's score, losses have no units.
        """
        table = annotate(table, schema)
        if self.identity is not None and self.identity.call.part is not None:
            first = next(iter(table.data_vars.values()))
            table = table.assign_attrs(part_rows=len(first))
        names = self.dataset.classes or self.dataset.label_names
        known = names is not None and not isinstance(self.dataset.dataset, WholeBatches)
        if known and names and table.sizes.get("class") == len(names):
            table = table.assign_coords(class_name=("class", np.array(names, dtype=object)))
        in_nats = isinstance(self._settings.score, str)
        for array in () if in_nats else table.variables.values():
            if array.attrs.get("units") == "nats":
                array.attrs["units"] = ""
        return table

    def split(self, by_unit: Tensor) -> dict[str, Tensor]:
        """Split an array whose last axis is the units of all layers by the name of the layer."""
        parts = torch.split(by_unit, [layer.units for layer in self.layers], dim=-1)
        return {layer.name: part for layer, part in zip(self.layers, parts, strict=True)}

    def tensor(self, values: Floats | Tensor) -> Tensor:
        """Return numbers as a tensor of the network's dtype on its device."""
        return torch.as_tensor(values, dtype=self.network.dtype, device=self.device)

    def batch_size(self, at_most: int | None = None, kept_bytes: int = 0) -> int:
        """Return the number of samples per batch that :meth:`batches` reads."""
        size = self.engine.batch_size(self._settings.batch_size, kept_bytes)
        return max(self._least_batch, size if at_most is None else min(size, at_most))

    def _read(
        self, dataset: Samples, indices: Indices, description: str, size: int
    ) -> Iterator[tuple[int, AnyInputs, Tensor]]:
        batches = iterate_batches(
            dataset,
            size,
            indices=indices,
            device=self.device,
            targets=self.score.targets,
            least=self._least_batch,
        )
        start = 0
        for _, inputs, targets in track(batches, description, total=-(-len(indices) // size)):
            yield start, self.network.ready(inputs), targets
            start += len(inputs)

    def _classes_of(self, targets: Tensor) -> Tensor:
        if targets.dtype != self._target_dtype:
            raise DatasetError(
                f"the data set has targets of {targets.dtype} and of {self._target_dtype}, but all "
                "targets must have one type; convert them"
            )
        if not self.by_class:
            return torch.zeros(len(targets), dtype=torch.int64, device=targets.device)
        classes = targets.long()
        end = self.classes if self.score.top is not None else torch.iinfo(torch.int64).max
        outside = classes[(classes < 0) | (classes >= end)]
        if not len(outside):
            return classes
        if self.score.top is None:
            raise ArgumentError(
                f"the data set has the target {int(outside[0])}, but integers are taken as "
                "classes, so they must be at least 0; give numbers as floats"
            )
        raise ArgumentError(
            f"the data set has the label {int(outside[0])}, but the model puts out "
            f"{self.classes} logits, so labels must be 0 to {self.classes - 1}; "
            f"{label_remedy(int(outside[0]))}"
        )


@contextmanager
def open_session(
    model: nn.Module, dataset: Any, settings: Settings, perturbed: Perturbed
) -> Iterator[Session]:
    """Check the settings, and open the model for perturbation until the context ends.

    Parameters
    ----------
    model, dataset, settings
        Model, data set and shared arguments of a perturbation.
    perturbed
        Kind of perturbation for which the engine prepares.

    Raises
    ------
    ArgumentError
        Where the data set is empty or a number is out of its range.
    LayerError
        Where a layer does not exist.
    ModelError
        Where the model cannot be run, or its output cannot be scored.
    """
    for name, least in (("samples", 1), ("batch_size", 1), ("seed", 0)):
        number = getattr(settings, name)
        if number is not None and number < least:
            raise ArgumentError(f"{name} is {number}, but must be at least {least}")
    dtype, model = stored_dtype(settings.precision), unwrap(model)
    device = find_device(model, settings.device)
    tensors = (*model.parameters(), *model.buffers())
    moved = sum(tensor.nbytes for tensor in tensors if tensor.device.type != device.type)
    budget = memory_limit(settings.memory_gb, device, moved)
    if settings.call is not None:
        settings.call.check()
        budget = saved_limit(settings.call.checkpoint, budget, settings.memory_gb)
    check_positions(settings.positions)
    form = whole_items(settings.form, settings.positions)
    samples = open_samples(dataset, form, model)
    if len(samples) == 0:
        raise ArgumentError("the data set is empty, but must have at least one sample")
    score = make_score(settings.score)
    indices = sample_indices(len(samples), settings.samples, settings.seed)
    if settings.positions is not None:
        ignored = settings.form.ignore_index
        score = score_positions(score, samples, indices, IGNORED if ignored is None else ignored)
    _, inputs, targets = next(
        iterate_batches(samples, 3, indices=indices[:3], targets=score.targets)
    )
    simplified = sum(p.nbytes for p in model.parameters()) <= SIMPLIFIED * budget
    call, identity = settings.call, None
    if call is not None and (call.part is not None or call.checkpoint is not None):
        identity = CallIdentity(call, model)
    opened = UnitNetwork(model, inputs, device=device, dtype=dtype, simplified=simplified)
    remedy = telling_remedy("batch_size", device, budget / 1e9)
    with remedy, forward_precision(settings.precision, device), opened as network:
        yield Session(
            network, samples, indices, (inputs, targets), settings, perturbed, score, budget,
            identity,
        )  # fmt: skip
