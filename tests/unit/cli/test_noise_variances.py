"""The noise job takes the recorded variance of elements, or computes what a store lacks."""

import numpy as np
import pytest
import torch
import xarray as xr

import unitlens as ul
from small_trainings import run_spec
from unitlens.cli.perturbation_commands import _add_noise
from unitlens.config.perturbation import NoiseRobustnessSpec
from unitlens.config.runs import dataset_name
from unitlens.data.prepare import prepare_dataset
from unitlens.model.weights import l1_norms
from unitlens.statistics.measures.unit_measures import unit_measures
from unitlens.store.backend.netcdf import write_netcdf
from unitlens.stored_network import StoredNetwork, noise_variances
from unitlens.training.train import train

SCALES = {"minimum": 0.5, "maximum": 2, "points": 2}
COMPUTED = "the variance of 9 units is computed over"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return a convolutional network of a results folder, recorded and measured."""
    folder = tmp_path_factory.mktemp("results")
    spec = run_spec({"name": "convnet", "channels": [4, 5], "strides": [1, 2]})
    dataset = folder / "datasets" / dataset_name(spec.dataset)
    prepare_dataset(spec.dataset, dataset, data=folder)
    train(spec, dataset, folder / "network")
    network = StoredNetwork(folder / "network")
    data = network.dataset("train")
    store = network.directory / "train" / "activations.zarr"
    provenance = network.provenance("train", code="1f")
    ul.record_activations(network.model, data, store, provenance=provenance)
    statistics = ul.class_statistics(ul.open_activations(store))
    norms = l1_norms(network.model, data.batch([0])[0])
    write_netcdf(
        unit_measures(statistics, statistics, norms), network.directory / "unit_measures.nc"
    )
    return network


def variance_by_hand(stored):
    inputs, _ = stored.dataset("train").batch(range(len(stored.dataset("train"))))
    values = []
    handles = [
        module.register_forward_hook(lambda _, __, output: values.append(output.double().numpy()))
        for module in stored.model.modules()
        if isinstance(module, torch.nn.ReLU)
    ]
    with torch.no_grad():
        stored.model(inputs)
    for handle in handles:
        handle.remove()
    return np.concatenate(
        [np.moveaxis(v, 1, 0).reshape(v.shape[1], -1).var(axis=1) for v in values]
    )


def add_noise(stored, **settings):
    section = NoiseRobustnessSpec(samples=50, scales=SCALES, draws=2, **settings)
    return _add_noise(stored, section, device="cpu", part=None, checkpoint=None)


def test_noise__of_elements_is_scaled_by_what_was_recorded_or_computed(stored, caplog):
    caplog.set_level("INFO", "unitlens")
    by_hand, split = variance_by_hand(stored), stored.dataset("train")

    recorded = noise_variances(stored)["element_variance"]
    np.testing.assert_allclose(recorded, by_hand, rtol=1e-5)
    noise = add_noise(stored)
    assert COMPUTED not in caplog.text
    expected = ul.noise_robustness(
        stored.model, split, [0.5, 2.0], variance=by_hand, draws=2, samples=50, seed=stored.seed
    )
    xr.testing.assert_allclose(noise, expected, rtol=1e-5)

    file = stored.directory / "train" / "activations.elements"
    content = file.read_bytes()
    file.unlink()
    assert np.isnan(noise_variances(stored)["element_variance"]).all()
    xr.testing.assert_allclose(add_noise(stored), noise, rtol=1e-6)
    assert f"{COMPUTED} {len(split)} samples of the reference" in caplog.text
    file.write_bytes(content)


def test_noise__of_units_is_scaled_by_the_measured_variance(stored, caplog):
    caplog.set_level("INFO", "unitlens")
    variance = xr.open_dataset(stored.directory / "unit_measures.nc")["variance"].values

    noise = add_noise(stored, per="unit")

    expected = ul.noise_robustness(
        stored.model, stored.dataset("train"), [0.5, 2.0], variance=variance, draws=2, samples=50,
        seed=stored.seed, per="unit",
    )  # fmt: skip
    xr.testing.assert_identical(noise.drop_attrs(), expected.drop_attrs())
    assert "is computed over" not in caplog.text


def test_recorded_variance__of_other_weights_is_not_taken(stored, monkeypatch):
    other = {**stored.inputs, "weights": "of another network"}
    monkeypatch.setattr(StoredNetwork, "inputs", property(lambda _: other))

    assert np.isnan(noise_variances(stored)["element_variance"]).all()
