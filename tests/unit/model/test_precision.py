"""The precision of perturbed passes: that of the network, float64, or bfloat16."""

import copy
import tempfile

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn import functional

import unitlens as ul
from networks_by_hand import Pairs, convnet, mlp, random_pairs
from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayers
from unitlens.variables.unit_index import unit_coordinates


class Branching(nn.Module):
    """A network that cannot be traced, and computes the same as the network inside of it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(inputs) if inputs.sum() < torch.inf else inputs


NETWORKS = {
    "mlp": (lambda: mlp().float(), (6,)),
    "convnet": (lambda: convnet().float(), (2, 8, 8)),
    "untraceable": (lambda: Branching(convnet().float()), (2, 8, 8)),
}


def variance_of(layers: UnitLayers):
    coordinates = unit_coordinates((layer.name, layer.depth, layer.units) for layer in layers)
    ones = np.ones(sum(layer.units for layer in layers))
    return xr.DataArray(ones, coords=coordinates, dims="unit")


def noise_robustness(model, pairs, **options):
    variance = variance_of(ul.unit_layers(model, pairs.inputs[:2]))
    return ul.noise_robustness(model, pairs, [0.1, 0.4], variance=variance, draws=2, **options)


def group_ablation(model, pairs, **options):
    return ul.group_ablation(model, pairs, [[0, 1], [2], [0, 3]], **options)


def direction_ablation(model, pairs, **options):
    units = variance_of(ul.unit_layers(model, pairs.inputs[:2]))
    by_layer = (layer for _, layer in units.groupby("layer"))
    directions = [ul.random_directions(layer, directions=2, seed=1) for layer in by_layer]
    return ul.direction_ablation(model, pairs, directions, **options)


MEASURES = {
    "unit_ablation": ul.unit_ablation,
    "first_order": lambda *given, **options: ul.unit_ablation(*given, first_order=True, **options),
    "mean": lambda *given, **options: ul.unit_ablation(*given, value="class_mean", **options),
    "cumulative_ablation": lambda *given, **options: ul.cumulative_ablation(
        *given, orders=3, points=5, **options
    ),
    "resample": lambda *given, **options: ul.cumulative_ablation(
        *given, orders=2, points=5, value="resample", **options
    ),
    "basis": lambda *given, **options: ul.cumulative_ablation(
        *given, orders=2, points=5, basis="random", **options
    ),
    "noise_robustness": noise_robustness,
    "group_ablation": group_ablation,
    "direction_ablation": direction_ablation,
}


@pytest.fixture(params=NETWORKS)
def network(request):
    build, shape = NETWORKS[request.param]
    return build(), random_pairs(64, *shape, dtype=torch.float32)


@pytest.fixture(params=MEASURES)
def measure(request):
    return MEASURES[request.param]


def test_float64__equals_the_network_made_double(network, measure):
    model, pairs = network

    result = measure(model, pairs, precision="float64")

    expected = measure(copy.deepcopy(model).double(), pairs)
    xr.testing.assert_identical(result, expected)  # that the numbers are float64 too
    assert result.precision == "float64"
    assert not result.equals(measure(model, pairs))


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_precision__is_only_for_the_time_of_the_call(network, measure, precision):
    model, pairs = network
    model.register_buffer("unused", torch.ones(2, dtype=torch.float16))
    before = {name: (t, t.data_ptr(), t.clone()) for name, t in model.state_dict().items()}
    tensors = [*model.parameters(), *model.buffers()]

    measure(model, pairs, precision=precision)

    assert all(
        a is b for a, b in zip(tensors, [*model.parameters(), *model.buffers()], strict=True)
    )
    for name, tensor in model.state_dict().items():
        _, place, values = before[name]
        assert tensor.data_ptr() == place
        assert tensor.dtype == values.dtype
        assert torch.equal(tensor, values)
    assert not torch.is_autocast_enabled("cpu")


def test_bfloat16__agrees_with_float32(network, measure):
    model, pairs = network

    result, expected = measure(model, pairs, precision="bfloat16"), measure(model, pairs)

    assert (result.precision, expected.precision) == ("bfloat16", "float32")
    for name in ("loss", "loss_increase", "loss_increase_first_order"):
        if name in expected:
            assert not np.array_equal(result[name], expected[name])
            np.testing.assert_allclose(result[name], expected[name], atol=3e-2)
    for name in ("accuracy", "accuracy_drop"):
        if name in expected:
            np.testing.assert_allclose(result[name], expected[name], atol=3 / 64 + 1e-9)


def test_bfloat16__of_a_double_network_is_not_left_in_float64():
    pairs = random_pairs(40, 6)

    result = ul.unit_ablation(mlp(), pairs, precision="bfloat16")

    xr.testing.assert_identical(
        result, ul.unit_ablation(mlp().float(), pairs, precision="bfloat16")
    )


def test_bfloat16__leaves_data_sets_and_scores_alone():
    """Products in a user's own code are computed in the dtypes of their operands."""
    model, given = mlp().float(), random_pairs(12, 6, dtype=torch.float32)
    rotation = torch.linalg.qr(torch.randn(6, 6))[0]
    seen = []

    class Rotated(Pairs):
        def __getitem__(self, index):
            inputs = self.inputs[index] @ rotation
            seen.append(inputs.dtype)
            return inputs, int(self.labels[index])

    def score(logits, labels):
        seen.append((torch.eye(2) @ torch.eye(2)).dtype)
        losses = functional.cross_entropy(logits.float(), labels, reduction="none")
        return losses, losses

    ul.unit_ablation(model, Rotated(given.inputs, given.labels), precision="bfloat16", score=score)

    assert set(seen) == {torch.float32}


@pytest.mark.parametrize("precision", ["float16", 64, torch.float64, ""])
def test_precision__refuses_others(measure, precision):
    model, pairs = mlp(), random_pairs(4, 6)
    message = "but must be None \\(the network's own\\), 'float64', 'bfloat16' or 'tf32'"
    with pytest.raises(ArgumentError, match=f"^precision is {precision!r}, {message}$"):
        measure(model, pairs, precision=precision)


class Noting(nn.Module):
    """A dense layer that notes how float32 numbers are multiplied when it runs."""

    def __init__(self):
        super().__init__()
        self.seen, self.before, self.inside = [], nn.Linear(6, 4), nn.Linear(4, 4)

    def forward(self, inputs):
        cudnn, onednn = torch.backends.cudnn, torch.backends.mkldnn
        older = torch.get_float32_matmul_precision(), cudnn.allow_tf32
        self.seen.append((*older, cudnn.conv.fp32_precision, onednn.conv.fp32_precision))
        return self.inside(torch.relu(self.before(inputs)))


@pytest.fixture
def coarse_products():
    """Set what a user may have set for speed; the test must find it again afterwards."""
    cudnn, onednn = torch.backends.cudnn, torch.backends.mkldnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, onednn.conv.fp32_precision
    torch.set_float32_matmul_precision("medium")
    cudnn.allow_tf32, onednn.conv.fp32_precision = True, "bf16"
    given = [owner.fp32_precision for owner in (cudnn.conv, cudnn.rnn, onednn.matmul, onednn.conv)]
    yield
    now = [owner.fp32_precision for owner in (cudnn.conv, cudnn.rnn, onednn.matmul, onednn.conv)]
    after = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    torch.set_float32_matmul_precision(before[0])
    cudnn.allow_tf32, onednn.conv.fp32_precision = before[1:]
    assert (now, after) == (given, ("medium", True))


def record(model, pairs):
    with tempfile.TemporaryDirectory() as folder:
        ul.record_activations(model, pairs, folder + "/acts")


@pytest.mark.parametrize("name", [*sorted(MEASURES), "network_statistics", "record_activations"])
def test_passes__are_in_ieee_float32_whatever_the_settings_of_the_user(name, coarse_products):
    model, pairs = Noting(), random_pairs(12, 6, dtype=torch.float32)
    others = {"network_statistics": ul.network_statistics, "record_activations": record}

    (MEASURES | others)[name](model, pairs)

    assert set(model.seen) == {("highest", False, "ieee", "ieee")}


@pytest.mark.parametrize("parent", ["", "mkldnn"])
def test_passes__leave_settings_that_are_taken_from_a_parent(parent):
    """What is not set by itself follows its parent afterwards too."""
    owner = getattr(torch.backends, parent) if parent else torch.backends
    follows = torch.backends.mkldnn.conv
    owner.fp32_precision = "tf32"
    try:
        ul.unit_ablation(mlp().float(), random_pairs(4, 6, dtype=torch.float32))
        assert (owner.fp32_precision, follows.fp32_precision) == ("tf32", "tf32")
        owner.fp32_precision = "ieee"
        assert follows.fp32_precision == "ieee"
    finally:
        owner.fp32_precision = "none"


def test_passes__leave_the_settings_of_the_user_after_an_error(coarse_products):
    def failing(outputs, labels):
        raise RuntimeError("a fault")

    with pytest.raises(Exception, match="a fault"):
        ul.unit_ablation(mlp().float(), random_pairs(4, 6, dtype=torch.float32), score=failing)


def test_tf32__is_refused_on_a_cpu_with_a_remedy_that_works():
    model, pairs = mlp().float(), random_pairs(4, 6, dtype=torch.float32)
    with pytest.raises(ArgumentError, match=r"^precision is 'tf32', but a CPU has no TF32; leave"):
        ul.unit_ablation(model, pairs, precision="tf32")
    assert ul.unit_ablation(model, pairs)["loss_increase"].notnull().all()
