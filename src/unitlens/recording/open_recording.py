"""Opening a recording: the layers and classes of a model are found, and the store is described."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unitlens.data.batches import iterate_batches
from unitlens.data.positions import IGNORED
from unitlens.data.repeated_reading import DATA_REMEDY, RANDOM_DATA, find_random_data
from unitlens.data.samples import Samples, Targets
from unitlens.errors import ScoreWarning
from unitlens.memory_errors import telling_remedy
from unitlens.model.devices import find_device
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer, is_by_name
from unitlens.model.network import UnitNetwork
from unitlens.model.precision import forward_precision
from unitlens.model.probabilities import find_probabilities
from unitlens.model.repeatability import REMEDIES, find_repeatability
from unitlens.recording.forward_passes import Recording, RecordingSettings
from unitlens.recording.kept_arrays import suitable_batch
from unitlens.recording.maps import choose_maps
from unitlens.recording.position_recording import (
    PositionRecording,
    find_position_classes,
    flat_layer,
    layers_of_positions,
    read_positions,
)
from unitlens.recording.recorded_classes import RecordedClasses, find_classes
from unitlens.store.format.layout import FeatureMaps
from unitlens.store.format.manifest import Contents, RecordedLayer
from unitlens.user_warnings import warn_caller, warn_of_doubts

_EXAMPLE = 8  # samples from which layers are found and outputs are judged
_LOSS_REMEDY = (
    "activations and predictions are right; give the network without its last softmax or sigmoid"
)


@contextmanager
def open_recording(
    model: nn.Module, samples: Samples, settings: RecordingSettings, provenance: Mapping[str, Any]
) -> Iterator[Recording]:
    """Find the layers and classes of a model, and yield a recording that is ready to run.

    Parameters
    ----------
    model
        The model.
    samples
        The samples that are recorded; where positions are samples, whole items.
    settings
        Settings of the recording.
    provenance
        Provenance of the activations.

    Raises
    ------
    ArgumentError, DatasetError, LayerError, ModelError
        As :func:`unitlens.record_activations`.
    """
    device = find_device(model, settings.device)
    if settings.positions is not None:
        with _open_positions(model, samples, settings, provenance, device) as recording:
            yield recording
        return
    example, labels = _example(samples, settings, device, samples.kind)
    opened = UnitNetwork(model, example, device=device, simplified=True)
    with _telling_remedy(settings, device), forward_precision(None, device), opened as network:
        classes = find_classes(network, samples, labels, settings.output)
        layers = network.choose(settings.layers)
        maps = choose_maps(settings.maps, layers, len(samples))
        contents = _contents(len(samples), layers, classes, settings, provenance, maps)
        batch_size = settings.batch_size or suitable_batch(network, example)
        least_batch, doubts = _find_doubts(network, samples, example, classes, batch_size)
        doubts = (*doubts, *_lacking_units(network, settings))
        yield Recording(
            network, samples, layers, contents, classes, batch_size, device,
            least_batch=least_batch, doubts=doubts,
        )  # fmt: skip


@contextmanager
def _open_positions(
    model: nn.Module,
    samples: Samples,
    settings: RecordingSettings,
    provenance: Mapping[str, Any],
    device: torch.device,
) -> Iterator[Recording]:
    """Open a recording in which positions are the samples."""
    ignored = IGNORED if settings.form.ignore_index is None else settings.form.ignore_index
    read = read_positions(samples, ignored)
    example, targets = _example(samples, settings, device, "any")
    opened = UnitNetwork(model, example, device=device, simplified=True)
    with _telling_remedy(settings, device), forward_precision(None, device), opened as network:
        classes = find_position_classes(network, targets, settings.output, read, ignored)
        layers = layers_of_positions(
            network.choose(settings.layers),
            tuple(targets.shape[1:]),
            named=settings.layers is not None,
        )
        flat = [flat_layer(layer) for layer in layers]
        contents = _contents(len(read.items), flat, classes, settings, provenance, None)
        batch_size = settings.batch_size or suitable_batch(network, example)
        least_batch, doubts = _find_doubts(network, samples, example, None, batch_size)
        doubts = (*doubts, *_lacking_units(network, settings))
        yield PositionRecording(
            network, samples, layers, contents, classes, batch_size, device,
            read=read, ignored=ignored, least_batch=least_batch, doubts=doubts,
        )  # fmt: skip


def _find_doubts(
    network: UnitNetwork,
    samples: Samples,
    example: AnyInputs,
    classes: RecordedClasses | None,
    batch_size: int,
) -> tuple[int, tuple[str, ...]]:
    """Return the fewest samples of a batch, and what makes numbers doubtful; warn of the latter.

    Parameters
    ----------
    network, samples, example
        The network, entered; the samples; and the inputs of the first samples.
    classes
        The classes, where losses are of one output a sample.
    batch_size
        Samples of a forward pass.
    """
    repeatability = find_repeatability(network, example)
    repeatability.check_batch_size(batch_size)
    targets: Targets = "any" if classes is None else samples.kind
    doubts = (*repeatability.doubts, *find_random_data(samples, targets))
    warn_of_doubts(doubts, REMEDIES | {RANDOM_DATA: DATA_REMEDY})
    if classes is not None and classes.logits:
        kind = find_probabilities(network, network.forward_with(example, {}))
        if kind is not None:
            warn_caller(f"{kind}, so losses are wrong; {_LOSS_REMEDY}", ScoreWarning)
            doubts = (*doubts, kind)
    return repeatability.least_batch, doubts


def _telling_remedy(
    settings: RecordingSettings, device: torch.device
) -> AbstractContextManager[None]:
    size = "" if settings.batch_size is None else f", which is {settings.batch_size}"
    return telling_remedy(f"batch_size{size}", device)


def _lacking_units(network: UnitNetwork, settings: RecordingSettings) -> tuple[str, ...]:
    """Return what the layers lack, in words, where they were not chosen by name."""
    if is_by_name(settings.layers) or not network.layers.left_out:
        return ()
    return (f"the layers of units lack {'; '.join(network.layers.reasons())}",)


def _contents(
    samples: int,
    layers: Sequence[UnitLayer],
    classes: RecordedClasses,
    settings: RecordingSettings,
    provenance: Mapping[str, Any],
    maps: FeatureMaps | None,
) -> Contents:
    return Contents(
        samples=samples,
        classes=classes.count,
        layers=tuple(RecordedLayer(of.name, of.depth, of.units, of.positions) for of in layers),
        reduce=settings.reductions[0],
        dtype=settings.dtype,
        provenance=provenance,
        also=tuple(settings.reductions[1:]),
        codec=settings.codec,
        maps=maps,
        attributes=classes.attributes,
    )


def _example(
    samples: Samples, settings: RecordingSettings, device: torch.device, targets: Targets
) -> tuple[AnyInputs, Tensor]:
    """Return the inputs and labels of the first samples, from which the layers are found."""
    most = max(2, min(_EXAMPLE, settings.batch_size or _EXAMPLE))
    rows = np.arange(min(most, len(samples)))
    batches = iterate_batches(samples, len(rows), indices=rows, device=device, targets=targets)
    _, inputs, labels = next(batches)
    return inputs, labels
