"""Recorded activations against plain forward hooks that copy at once."""

import dask
import numpy as np
import pytest
import torch
from torch import nn

from recorded_networks import NETWORKS, Samples, record_small
from unitlens.store.reader import open_activations

BATCH = 32


def hooked(model, dataset, reduce):
    """Return the reduced output of each call of a ReLU, in order, and the logits."""
    batches, kept = [], []
    hook = {"mean": lambda x: x.mean((2, 3)), "max": lambda x: x.amax((2, 3))}[reduce]

    def keep(_module, _inputs, output):
        kept.append(hook(output) if output.dim() == 4 else output.clone())

    model.eval()
    handles = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, nn.ReLU)]
    for start in range(0, len(dataset), BATCH):
        kept.clear()
        with torch.no_grad():
            logits = model(dataset.inputs[start : start + BATCH])
        batches.append([*kept, logits])
    for handle in handles:
        handle.remove()
    *layers, logits = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    return layers, logits


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("name", NETWORKS)
def test_activations__equal_those_of_plain_hooks(tmp_path, name, reduce):
    build, shape = NETWORKS[name]
    dataset = Samples(333, shape)
    path = record_small(build(), dataset, tmp_path / "a.zarr", reduce=reduce, batch_size=BATCH)
    layers, logits = hooked(build(), dataset, reduce)
    with dask.config.set(scheduler="synchronous"):
        tree = open_activations(path)
        assert len(tree.children) == len(layers)
        for child, expected in zip(tree.children.values(), layers, strict=True):
            rounding = 1e-6 * np.abs(expected).max()
            np.testing.assert_allclose(child.activation, expected, rtol=1e-6, atol=rounding)
    np.testing.assert_array_equal(tree["prediction"], logits.argmax(axis=1))


@pytest.mark.parametrize("name", NETWORKS)
def test_loss__equals_the_log_of_softmax(tmp_path, name):
    build, shape = NETWORKS[name]
    dataset = Samples(77, shape)
    path = record_small(build(), dataset, tmp_path / "a.zarr", batch_size=BATCH)
    _, logits = hooked(build(), dataset, "mean")
    exponentials = np.exp(logits.astype(np.float64))
    likelihoods = exponentials[np.arange(77), dataset.labels] / exponentials.sum(axis=1)
    np.testing.assert_allclose(open_activations(path)["loss"], -np.log(likelihoods), rtol=1e-5)


def test_float64__is_reduced_in_float64_and_stored_as_float32(tmp_path):
    build, shape = NETWORKS["convnet"]
    dataset = Samples(50, shape)
    dataset.inputs = dataset.inputs.double()
    path = record_small(build().double(), dataset, tmp_path / "a.zarr", batch_size=BATCH)
    layers, _ = hooked(build().double(), dataset, "mean")
    tree = open_activations(path)
    for child, expected in zip(tree.children.values(), layers, strict=True):
        np.testing.assert_array_equal(child.activation, expected.astype(np.float32))
