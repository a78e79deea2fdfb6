"""Feature maps beside the activations: values, choice, damage, sizes, configuration."""

import logging
import shutil
from math import prod
from pathlib import Path

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from recorded_networks import COMPARED, Samples, convnet, mlp, record_small, seeded
from small_stores import all_files, flip
from unitlens.config.measurements import ActivationSpec
from unitlens.config.reading import parse_config
from unitlens.errors import (
    ArgumentError,
    ConfigError,
    LayerError,
    StoreError,
)
from unitlens.model.layers import UnitLayer
from unitlens.planning.network_checks import check_networks
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_estimate import estimate_plan
from unitlens.store.format.layout import DEFAULT_LAYOUT, FeatureMaps, plan_arrays
from unitlens.store.format.manifest import read_manifest
from unitlens.store.format.store_estimate import estimate_store

CHOSEN = (3, 17, 100, 101, 102, 250, 299)
MAPS = {"layers": ["2", "5"], "samples": CHOSEN}


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def dataset():
    return Samples(300, (3, 8, 8))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


def record(path, dataset, **options):
    return record_small(convnet(), dataset, path, **{"maps": MAPS, "batch_size": 16, **options})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, dataset):
    return all_files(record(tmp_path_factory.mktemp("undisturbed") / "acts.zarr", dataset))


# values


class Tokens(nn.Module):
    """Units on the last axis."""

    def __init__(self):
        super().__init__()
        self.up, self.act, self.down = nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 10)

    def forward(self, x):
        return self.down(self.act(self.up(x)).mean(1))


class Untraceable(nn.Module):
    """A model whose graph depends on the data, and which changes its activation in place."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Linear(4, 10)

    def forward(self, x):
        values = self.relu(self.conv(x))
        means = values.mean((2, 3))
        if means.sum() > -1:
            values.mul_(0)
        return self.head(means)


@seeded
def conv1d():
    return nn.Sequential(
        nn.Conv1d(2, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 10)
    )


@seeded
def conv3d():
    return nn.Sequential(
        nn.Conv3d(1, 4, 2), nn.Tanh(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 10)
    )


MODELS = {
    "conv2d": (convnet, (3, 8, 8), ("2", "5"), 1, ("y", "x")),
    "conv1d": (conv1d, (2, 12), ("1",), 1, ("x",)),
    "conv3d": (conv3d, (1, 3, 4, 5), ("1",), 1, ("z", "y", "x")),
    "tokens": (seeded(Tokens), (7, 6), ("act",), -1, ("x",)),
    "untraceable": (seeded(Untraceable), (1, 6, 6), ("relu",), 1, ("y", "x")),
}


def hooked(model, inputs, name):
    """Return the output of a module, by a plain forward hook."""
    seen = []
    module = dict(model.named_modules())[name]
    handle = module.register_forward_hook(lambda *call: seen.append(call[2].clone()))
    with torch.inference_mode():
        model.eval()(inputs)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", MODELS)
def test_maps__are_what_a_hook_sees_and_their_mean_is_the_activation(path, name):
    build, shape, layers, axis, axes = MODELS[name]
    data = Samples(40, shape)
    numbers = [2, 3, 20, 39]
    record_small(build(), data, path, maps={"samples": numbers}, batch_size=7)
    tree = ul.open_activations(path)
    assert [layer for layer in tree.children if "map" in tree[layer].data_vars] == list(layers)
    for layer in layers:
        maps = tree[layer]["map"]
        expected = hooked(build(), data.inputs[numbers], layer).movedim(axis, 1).numpy()
        assert maps.dims == ("map_sample", "unit", *axes)
        assert maps.dtype == np.float32
        assert maps.map_sample.values.tolist() == numbers
        np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)
        means = tree[layer]["activation"].values[numbers]
        np.testing.assert_allclose(maps.mean(axes), means, rtol=1e-5, atol=1e-6)
        one = maps.sel(map_sample=20)
        np.testing.assert_array_equal(one, maps.values[2])
        two = maps.sel(map_sample=[39, 3]).isel(unit=1)
        np.testing.assert_array_equal(two, maps.values[[3, 1], 1])
    plain = xr.open_datatree(path, engine="zarr", consolidated=False)
    xr.testing.assert_equal(plain[layers[0]]["map"], tree[layers[0]]["map"].drop_vars("channel"))


def test_maps__dtype_and_codec_are_the_store_s(path, dataset):
    record(path, dataset, dtype="float16", codec="zstd")
    maps = ul.open_activations(path)["5"]["map"]
    expected = hooked(convnet(), dataset.inputs[list(CHOSEN)], "5").numpy()
    assert maps.dtype == np.float16
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-3)


def test_maps__that_overflow_are_refused_though_their_mean_does_not(path):
    inputs = torch.zeros(20, 1, 8, 8)
    inputs[5, 0, 0, 0] = 1e5
    data = torch.utils.data.TensorDataset(inputs, torch.zeros(20, dtype=torch.int64))
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
    record_small(model, data, path, dtype="float16")
    with pytest.raises(StoreError, match="an activation of layer '0' is 100000, but float16 hol"):
        record_small(
            model, data, path.with_name("b.zarr"), dtype="float16", maps={"samples": [4, 5]}
        )


def test_maps__change_no_statistics(path, dataset):
    record(path, dataset)
    plain = record(path.with_name("plain.zarr"), dataset, maps=None)
    one, two = (ul.open_activations(place) for place in (path, plain))
    xr.testing.assert_identical(ul.class_statistics(one), ul.class_statistics(two))
    xr.testing.assert_identical(ul.class_means(one), ul.class_means(two))
    components = (ul.principal_components(tree, layer="2") for tree in (one, two))
    xr.testing.assert_identical(*components)


# choice


def samples_of(path):
    return read_manifest(path).contents.maps.samples


def test_samples__so_many_are_drawn_alike_and_fewer_are_among_more(tmp_path, dataset):
    few, many = ({"samples": 5}, {"samples": 50})
    one = samples_of(record(tmp_path / "a.zarr", dataset, maps=few))
    other = Samples(300, (3, 8, 8), seed=4)
    assert samples_of(record(tmp_path / "b.zarr", other, maps=few)) == one
    more = samples_of(record(tmp_path / "c.zarr", dataset, maps=many))
    assert len(set(one)) == 5
    assert set(one) < set(more)
    assert list(more) == sorted(more)
    assert max(more) > 200  # the samples are not the first of the data set


def test_samples__in_any_order_and_of_an_array(path, dataset, undisturbed):
    record(path, dataset, maps={**MAPS, "samples": np.array(CHOSEN[::-1])})
    assert all_files(path) == undisturbed


def test_layers__of_a_network_without_maps(path, caplog):
    with caplog.at_level(logging.INFO, "unitlens"):
        record_small(mlp(), Samples(20, (12,)), path, maps={"samples": 3})
    assert "no layer has feature maps, so none are kept" in caplog.text
    assert read_manifest(path).contents.maps is None


def test_layers__the_last_that_have_maps(path):
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5), nn.ReLU(), nn.Linear(5, 10)
    )
    maps = {"layers": {"last": 1}, "samples": [0]}
    record_small(model, Samples(9, (1, 8, 8)), path, maps=maps)
    assert dict(read_manifest(path).contents.maps.positions) == {"1": (6, 6)}
    same = record_small(
        model, Samples(9, (1, 8, 8)), path.with_name("a.zarr"), maps={**maps, "layers": 1}
    )
    assert all_files(same) == all_files(path)
    with pytest.raises(LayerError, match=r"'4' of maps.layers has no feature maps, .* \(known: 1"):
        record_small(
            model,
            Samples(9, (1, 8, 8)),
            path.with_name("b.zarr"),
            maps={**maps, "layers": ["1", "4"]},
        )


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        ({"layers": ["6"], "samples": 3}, LayerError, "names '6', which is not recorded; known"),
        ({"samples": 301}, ArgumentError, "maps.samples are 301, but the data set has 300"),
        ({"samples": [2, 300]}, ArgumentError, "maps.samples name sample 300, but the data set h"),
        ({"samples": [-1]}, ArgumentError, r"maps.samples.0 = -1: input should be greater"),
        ({"samples": [4, 7, 4]}, ArgumentError, r"maps.samples = .* but sample 4 is named again"),
        ({"samples": []}, ArgumentError, r"maps.samples = \[\]: .*at least 1 item"),
        ({"samples": 0}, ArgumentError, "maps.samples = 0: input should be greater than 0"),
        ({"samples": 2.5}, ArgumentError, "maps.samples = 2.5: input should be a valid integer"),
        ({"layers": ["2"]}, ArgumentError, "maps.samples is missing"),
        ({"layers": 0, "samples": 3}, ArgumentError, "maps.layers is 0, but must be at least 1"),
        ({"layers": True, "samples": 3}, ArgumentError, "maps.layers is True, but must be at leas"),
        ({"sample": 3, "samples": 4}, ArgumentError, "maps.sample is not a key .*'samples'"),
    ],
)
def test_maps__wrong_ones_are_refused_in_one_line(path, dataset, maps, error, message):
    with pytest.raises(error, match=message) as refused:
        record(path, dataset, maps=maps)
    assert "\n" not in str(refused.value)
    assert not path.exists()


def test_maps__of_a_layer_that_is_not_recorded(path, dataset):
    with pytest.raises(LayerError, match=r"maps.layers names '2', which is not recorded; known: 5"):
        record(path, dataset, layers=["5"])


@pytest.mark.parametrize("maps", [None, {**MAPS, "samples": CHOSEN[1:]}, {"samples": 7}])
def test_finished__other_maps_are_another_recording(path, dataset, maps):
    record(path, dataset)
    record(path, dataset)
    with pytest.raises(StoreError, match=r"holds another recording, whose maps is \{.*remove it"):
        record(path, dataset, maps=maps)


def test_content_hash__covers_maps(tmp_path, dataset):
    choices = ([3, 17], [3, 18])
    made = [
        read_manifest(record(tmp_path / f"{at}.zarr", dataset, maps={"samples": samples}))
        for at, samples in enumerate(choices)
    ]
    assert made[0].content_hash != made[1].content_hash
    (one, two) = ({f.array.path: f.hashes for f in manifest.files} for manifest in made)
    assert {name for name in one if one[name] != two[name]} == {"2/map", "5/map", "map_sample"}


# faults


class PoweredOffError(BaseException):
    pass


class Dying(Samples):
    """A data set that raises an error at a certain sample, and notes the samples asked for."""

    dies_at, identity = None, "samples"

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        if index == self.dies_at:
            raise PoweredOffError
        return super().__getitem__(index)


@pytest.fixture
def dying():
    return Dying(300, (3, 8, 8))


def test_resume__after_crashes_at_several_moments_equals_undisturbed(path, dying):
    expected = all_files(record(path.with_name("undisturbed.zarr"), dying))
    for dies_at in (10, 98, 101, 140, 290):
        dying.dies_at = dies_at
        with pytest.raises(PoweredOffError):
            record(path, dying)
    dying.dies_at = None
    record(path, dying)
    assert all_files(path) == expected


def test_resume__runs_just_the_batches_that_hold_missing_maps(path, dying):
    record(path, dying)
    before = all_files(path)
    (path / "2/map/c/1/0/0/0").unlink()  # three samples a shard: 101, 102 and 250
    path.with_suffix(".json").unlink()
    dying.asked = []
    record(path, dying)
    assert dying.asked[-32:] == [i for i in range(300) if i // 16 in {6, 15}]
    assert len(dying.asked) <= 32 + COMPARED
    assert all_files(path) == before


def test_parts__merge_into_the_undisturbed_store(path, dataset, undisturbed):
    held = []
    for number in (3, 1, 4, 2):
        record(path, dataset, part=(number, 4))
        held.append(len(list(path.glob("2/map/c/*/*/*/*"))))
    assert held == [1, 2, 3, 3]  # each shard is written by one part
    ul.merge_activations(path)
    assert all_files(path) == undisturbed


SHARDS = ["2/map/c/1/0/0/0", "5/map/c/0/0/0/0", "map_sample/c/2"]


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("fault", ["flipped", "missing", "truncated"])
def test_damaged__is_named_never_read_and_repaired(path, dataset, undisturbed, shard, fault):
    record(path, dataset)
    file = path / shard
    if fault == "flipped":
        flip(file, 11, 3)
    elif fault == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])

    assert [fault.place for fault in ul.verify_activations(path).faults] == [shard]
    with pytest.raises(StoreError, match=f"'{shard}'"):
        ul.open_activations(path)[shard[0] if shard[0] in "25" else "2"]["map"].load()
    report = ul.repair_activations(convnet(), dataset, path)
    assert [fault.place for fault in report.faults] == [shard]
    assert all_files(path) == undisturbed


@pytest.mark.parametrize("name", ["2/map/zarr.json", "map_sample/zarr.json", "zarr.json"])
def test_damaged__metadata_are_made_again(path, dying, name):
    before = all_files(record(path, dying))
    flip(path / name, 20, 1)
    dying.asked = []
    ul.repair_activations(convnet(), dying, path)
    assert len(dying.asked) <= COMPARED
    assert all_files(path) == before


def test_damaged__manifest_is_made_from_the_journal(path, dataset, undisturbed):
    record(path, dataset)
    flip(path.with_suffix(".json"), 400, 2)
    (path / SHARDS[0]).unlink()
    report = ul.repair_activations(convnet(), dataset, path)
    assert [fault.place for fault in report.faults] == ["acts.json", SHARDS[0]]
    assert all_files(path) == undisturbed


def test_verify__other_values_with_a_sound_checksum(path, dataset):
    """A shard of another recording has sound checksums, but not those of this one."""
    record(path, dataset, codec="none")
    other = record(path.with_name("b.zarr"), Samples(300, (3, 8, 8), seed=3), codec="none")
    shutil.copy2(other / SHARDS[0], path / SHARDS[0])
    (fault,) = ul.verify_activations(path).faults
    assert fault.place == SHARDS[0]


# sizes


def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])


def test_read__of_one_sample_takes_little(path):
    data = Samples(200, (3, 32, 32))
    ul.record_activations(convnet(), data, path, maps={"layers": ["2"], "samples": range(200)})
    maps = ul.open_activations(path)["2"]["map"]
    maps.sel(map_sample=3).to_numpy()  # modules that are imported meanwhile are bytes read, too
    before = bytes_read()
    one = maps.sel(map_sample=170).to_numpy()
    between = bytes_read()
    everything = maps.to_numpy()
    np.testing.assert_array_equal(one, everything[170])
    # Chunks of 1 MB hold the maps of 29 or 32 of these samples.
    assert between - before < 0.2 * (bytes_read() - between)


@pytest.mark.parametrize(
    ("units", "positions", "samples"),
    [
        (64, (28, 28), 100),
        (64, (112, 112), 40),
        (2048, (7, 7), 500),
        (3, (5,), 7),
        (2, (900, 900), 3),
    ],
)
def test_plan__chunks_are_near_a_megabyte_and_hold_few_samples(units, positions, samples):
    layer = UnitLayer("conv", 0, units, (units, *positions), 1)
    maps = FeatureMaps({"conv": positions}, tuple(range(0, 2 * samples, 2)))
    arrays = plan_arrays([layer], 2000, "float32", maps=maps)
    (array,) = (array for array in arrays if array.path == "conv/map")
    one, sample = 4 * prod(positions), 4 * units * prod(positions)
    assert array.shape == (samples, units, *positions)
    assert array.chunks[2:] == positions
    chunk = 4 * prod(array.chunks)
    assert chunk <= max(DEFAULT_LAYOUT.chunk_bytes, one)
    assert chunk > min(0.5 * DEFAULT_LAYOUT.chunk_bytes, one, array.nbytes - 1)
    assert array.chunks[0] * sample <= max(DEFAULT_LAYOUT.chunk_bytes, sample)
    assert 4 * prod(array.shards) <= 2.1 * DEFAULT_LAYOUT.shard_bytes


def test_estimate__counts_maps_and_files(path, dataset):
    layers = ul.unit_layers(convnet(), torch.zeros(1, 3, 8, 8))
    maps = FeatureMaps({"2": (8, 8), "5": (4, 4)}, CHOSEN)
    plain, more = estimate_store(layers, 300), estimate_store(layers, 300, maps=maps)
    assert more.bytes - plain.bytes == 7 * (8 * 64 + 16 * 16) * 4 + 7 * 8
    assert more.files - plain.files == 6
    ul.record_activations(convnet(), dataset, path, maps=MAPS)
    assert more.files == len(list(path.parent.rglob("*.*"))) + len(
        [file for file in path.rglob("c/**/*") if file.is_file()]
    ) - len(list(path.parent.glob("acts.zarr")))


def test_limit__counts_maps(path, dataset):
    record(path, dataset, maps=None, limit_gb=8e-5)
    with pytest.raises(
        StoreError, match=r"limit_gb is 8e-05; choose fewer layers, record as .*, k"
    ):
        record(path.with_name("b.zarr"), dataset, maps={"samples": 300}, limit_gb=8e-5)


# configuration


def planned(model, **maps):
    family = {"dataset": {"name": "digits"}, "model": model, "training": {"epochs": 1}}
    activations = {"activations": {"maps": maps}} if maps else {}
    return make_plan(parse_config({"experiments": {"mine": family}, "measurements": activations}))


CONVNET = {"name": "convnet", "channels": [4, 8], "strides": [1, 2]}


def test_config__mirrors_the_argument():
    spec = ActivationSpec(maps={"layers": ["relu1"], "samples": [5, 2]})
    assert spec.maps.layers == ("relu1",)
    assert spec.maps.samples == (5, 2)
    assert ActivationSpec().maps is None


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({"samples": [3, 3]}, r"activations.maps.samples = .*: must name each sample once"),
        ({"samples": True}, r"activations.maps.samples = True: must not be a truth value"),
        ({"layer": ["relu1"], "samples": 3}, r"maps.layer is not a key .*did you mean 'layers'"),
    ],
)
def test_config__refuses_in_one_line(maps, message):
    with pytest.raises(ConfigError, match=message) as refused:
        planned(CONVNET, **maps)
    assert "\n" not in str(refused.value)


def test_config__layers_must_be_recorded():
    with pytest.raises(ValueError, match="must be among layers, which do not name 'relu2'"):
        ActivationSpec(layers=["relu1"], maps={"layers": ["relu2"], "samples": 1})


@pytest.mark.parametrize(
    ("model", "layers", "message"),
    [
        (CONVNET, ["relu9"], r"measurements.activations.maps.layers \(for convnet\): .*relu9"),
        ({"name": "mlp"}, ["relu1"], r"activations \(for mlp\): layer 'relu1' .* no feature maps"),
    ],
)
def test_plan__refuses_maps_that_a_network_lacks(model, layers, message):
    with pytest.raises(ConfigError, match=message):
        check_networks(planned(model, layers=layers, samples=5))


def test_plan__counts_maps():
    plain, more = (estimate_plan(planned(CONVNET, **maps)) for maps in ({}, {"samples": 10}))
    assert not check_networks(planned(CONVNET, layers=["relu1"], samples=10))
    for one, two in zip(plain.stores, more.stores, strict=True):
        assert two.bytes - one.bytes == 10 * (4 * 8 * 8 + 8 * 4 * 4) * 4 + 10 * 8
