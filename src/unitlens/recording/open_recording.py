"""Opening a recording: the layers and classes of a model are found, and the store is described."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unitlens.data.batches import iterate_batches
from unitlens.data.positions import IGNORED
from unitlens.data.samples import Samples, Targets
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer, choose_layers
from unitlens.model.network import UnitNetwork
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
        The samples that are recorded.
    settings
        Settings of the recording.
    provenance
        Provenance of the activations.

    Raises
    ------
    ArgumentError, DatasetError, LayerError, ModelError
        As :func:`unitlens.record_activations`.
    """
    if settings.positions is not None:
        with _open_positions(model, samples, settings, provenance) as recording:
            yield recording
        return
    example, labels = _example(samples, settings.device, samples.kind)
    with UnitNetwork(model, example, device=settings.device, simplified=True) as network:
        layers = choose_layers(network.layers, settings.layers)
        classes = find_classes(network, samples, labels, settings.output)
        maps = choose_maps(settings.maps, layers, len(samples))
        contents = _contents(len(samples), layers, classes, settings, provenance, maps)
        batch_size = settings.batch_size or suitable_batch(network, example)
        yield Recording(network, samples, layers, contents, classes, batch_size, settings.device)


@contextmanager
def _open_positions(
    model: nn.Module, samples: Samples, settings: RecordingSettings, provenance: Mapping[str, Any]
) -> Iterator[Recording]:
    """Open a recording in which positions are the samples."""
    ignored = IGNORED if settings.form.ignore_index is None else settings.form.ignore_index
    plain = Samples(samples.given, replace(settings.form, ignore_index=None), samples.names)
    items, labels = read_positions(plain, ignored)
    example, targets = _example(plain, settings.device, "any")
    with UnitNetwork(model, example, device=settings.device, simplified=True) as network:
        layers = layers_of_positions(
            choose_layers(network.layers, settings.layers),
            tuple(targets.shape[1:]),
            named=settings.layers is not None,
        )
        classes = find_position_classes(network, targets, settings.output, labels, ignored)
        flat = [flat_layer(layer) for layer in layers]
        contents = _contents(len(items), flat, classes, settings, provenance, None)
        batch_size = settings.batch_size or suitable_batch(network, example)
        yield PositionRecording(
            network, plain, layers, contents, classes, batch_size, settings.device,
            items=items, labels=labels, ignored=ignored,
        )  # fmt: skip


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
    samples: Samples, device: torch.device | str, targets: Targets
) -> tuple[AnyInputs, Tensor]:
    """Return the inputs and labels of the first samples, from which the layers are found."""
    rows = np.arange(min(2, len(samples)))
    batches = iterate_batches(samples, len(rows), indices=rows, device=device, targets=targets)
    _, inputs, labels = next(batches)
    return inputs, labels
