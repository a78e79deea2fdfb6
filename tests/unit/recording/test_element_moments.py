"""The moments of the elements of feature maps, which a recording keeps in its pass."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

import unitlens as ul
from recorded_networks import Samples, convnet, mlp
from unitlens.hashed_files import add_trailer
from unitlens.recording import record
from unitlens.store.element_file import recorded_variances
from unitlens.store.format.layout import Layout
from unitlens.store.format.manifest import read_manifest

COUNT = 150
MAPS = {"2": (8, 64), "5": (16, 16)}  # layer: units, positions


@pytest.fixture(autouse=True)
def many_shards(monkeypatch):
    monkeypatch.setattr(record, "DEFAULT_LAYOUT", Layout(chunk_bytes=2**9, shard_bytes=2**10))


@pytest.fixture(scope="module")
def dataset():
    return Samples(COUNT, (3, 8, 8))


def variances_by_hand(dataset):
    """Return the variance of each unit over samples and positions, by hooks and NumPy."""
    model, values = convnet().eval(), {}
    for name in MAPS:
        model.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: values.__setitem__(name, output.double().numpy())
        )
    with torch.no_grad():
        model(dataset.inputs.clone())
    return {
        name: of.transpose(1, 0, 2, 3).reshape(of.shape[1], -1).var(1)
        for name, of in values.items()
    }


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys() == MAPS.keys()
    for name, values in expected.items():
        assert found[name].tobytes() == values.tobytes()


class Stopping(Samples):
    """Samples of which reading is stopped, as if the process was killed, after some readings."""

    read, stop_at = 0, None

    def __getitem__(self, index):
        if self.read == self.stop_at:
            raise KeyboardInterrupt
        self.read += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("options", [{}, {"reduce": "max"}, {"dtype": "float16"}])
def test_recording__keeps_the_variance_of_all_elements(dataset, tmp_path, options):
    path = ul.record_activations(convnet(), dataset, tmp_path / "a.zarr", batch_size=16, **options)

    found = recorded_variances(path)

    for name, expected in variances_by_hand(dataset).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)
    assert ul.verify_activations(path).whole
    shards = {file.array.path: file.array.shard_count for file in read_manifest(path).files}
    assert min(shards[f"{name}/activation"] for name in MAPS) > 1


def test_recording__in_parts_has_the_bits_of_the_whole(dataset, tmp_path):
    whole = ul.record_activations(convnet(), dataset, tmp_path / "whole.zarr", batch_size=16)
    for parts in (2, 3):
        path = tmp_path / f"{parts}.zarr"
        for number in reversed(range(parts)):
            part = (number + 1, parts)
            ul.record_activations(convnet(), dataset, path, batch_size=16, part=part)
        assert_same_bits(recorded_variances(ul.merge_activations(path)), recorded_variances(whole))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_recording__that_goes_on_has_the_bits_of_an_undisturbed_one(tmp_path, share):
    dataset, path = Stopping(COUNT, (3, 8, 8)), tmp_path / "stopped.zarr"
    whole = ul.record_activations(convnet(), dataset, tmp_path / "whole.zarr", batch_size=16)

    dataset.stop_at = dataset.read - int((1 - share) * COUNT)  # the pass reads the last samples
    dataset.read = 0
    with pytest.raises(KeyboardInterrupt):
        ul.record_activations(convnet(), dataset, path, batch_size=16)
    assert path.with_suffix(".journal").read_bytes().count(b"\n") > 1  # shards are complete
    dataset.stop_at = None
    ul.record_activations(convnet(), dataset, path, batch_size=16)

    assert_same_bits(recorded_variances(path), recorded_variances(whole))


def test_recording__of_dense_layers_alone_writes_no_file(tmp_path):
    ul.record_activations(mlp(), Samples(30, (12,)), tmp_path / "a.zarr")

    assert not list(tmp_path.glob("*.elements"))
    assert recorded_variances(tmp_path / "a.zarr") == {}


def test_recorded_variances__are_of_the_very_store(dataset, tmp_path):
    """A file that is missing, damaged, incomplete or of another recording has no variances."""
    path = ul.record_activations(convnet(), dataset, tmp_path / "a.zarr", batch_size=16)
    file, provenance = path.with_suffix(".elements"), read_manifest(path).contents.provenance
    content = file.read_bytes()
    known = {"weights_hash": provenance["weights_hash"]}
    assert recorded_variances(path, **known).keys() == MAPS.keys()
    assert recorded_variances(path, weights_hash="other") == {}

    for damaged in (
        content[:-1],
        content[:100] + b"x" + content[101:],
        add_trailer(b"no zip"),
        b"",
    ):
        file.write_bytes(damaged)
        assert recorded_variances(path) == {}
    file.unlink()
    assert recorded_variances(path) == {}
    other = ul.record_activations(convnet(), Samples(COUNT, (3, 8, 8), seed=1), tmp_path / "b.zarr")
    file.write_bytes(other.with_suffix(".elements").read_bytes())
    assert recorded_variances(path) == {}
    file.write_bytes(content)
    assert recorded_variances(path).keys() == MAPS.keys()

    again = ul.record_activations(mlp(), Samples(9, (12,)), path, overwrite=True)
    assert not file.exists()
    assert recorded_variances(again) == {}


def test_recording__of_before_stays_finished_without_the_file(dataset, tmp_path, caplog):
    path = ul.record_activations(convnet(), dataset, tmp_path / "a.zarr", batch_size=16)
    path.with_suffix(".elements").unlink()
    manifest = json.loads(path.with_suffix(".json").read_text())

    with caplog.at_level("INFO", "unitlens"):
        ul.record_activations(convnet(), dataset, path, batch_size=16)

    assert "is recorded already" in caplog.text
    assert json.loads(path.with_suffix(".json").read_text()) == manifest
    assert recorded_variances(path) == {}


def test_noise_robustness__by_recorded_variances_is_that_by_computed_ones(dataset, tmp_path):
    path = ul.record_activations(convnet(), dataset, tmp_path / "a.zarr")
    statistics = ul.empirical_variance(ul.network_statistics(convnet(), dataset))
    recorded = np.concatenate([recorded_variances(path)[name] for name in MAPS])
    table = statistics.assign(element_variance=("unit", recorded))

    known, computed = (
        ul.noise_robustness(
            convnet(), dataset, [0.5, 2.0], variance=variance, draws=2, reference=dataset
        )
        for variance in (table, statistics)
    )

    xr.testing.assert_allclose(known, computed, rtol=1e-6)
