"""Every function that runs a network on a GPU: the CPU's numbers, twice, in few waits."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from calls_on_networks import CALLS, NETWORKS, VALUES, pairs_of, prepared_for, tables
from networks_by_hand import Pairs, mlp, random_pairs
from simulated_gpu import aten, simulated_gpu
from unitlens.memory_errors import lacks_memory
from unitlens.perturbation.scores import BUILT_IN

# A batch of more samples makes no more of either. A network that cannot be traced is run once for
# every layer, and its own forward pass waits for numbers.
KERNELS_A_BATCH, WAITS_A_BATCH = 400, 30
WAITS_OF_UNTRACEABLE = 45
FAULTS = 12  # of the allocations of each call


def differences(found, expected):
    """Return the largest difference of each variable, relative to its largest number."""
    result = {}
    for one, other in zip(tables(found), tables(expected), strict=True):
        for name, array in other.data_vars.items():
            if array.dtype.kind == "f" and array.notnull().any():
                largest = max(float(np.nanmax(abs(array), initial=0)), 1e-12)
                error = float(np.nanmax(abs(one[name] - array), initial=0))
                result[name] = max(result.get(name, 0.0), error / largest)
            xr.testing.assert_equal(one[name].isnull(), array.isnull())
    return result


@pytest.mark.parametrize("network", sorted(NETWORKS))
@pytest.mark.parametrize("call", sorted(CALLS))
def test_call__has_the_numbers_of_the_cpu_and_the_same_bits_again(call, network):
    model, pairs, more = NETWORKS[network][0](), pairs_of(network), prepared_for(call, network)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    expected = CALLS[call](model, pairs, **more)

    found = []
    for _ in range(2):
        with simulated_gpu():
            found.append(CALLS[call](model, pairs, device="cuda", **more))

    errors = differences(found[0], expected)
    assert errors
    assert max(errors.values()) < 1e-9, errors
    for one, other in zip(*map(tables, found), strict=True):
        xr.testing.assert_identical(one, other)
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)


@pytest.mark.parametrize("network", sorted(NETWORKS))
@pytest.mark.parametrize(
    "call", [call for call in sorted(CALLS) if call.split()[-1] not in VALUES[1:]]
)
def test_call__launches_and_waits_a_bounded_number_of_times_a_batch(call, network):
    more, counts = prepared_for(call, network), []
    for batches in (2, 6):
        with simulated_gpu() as gpu:
            model, pairs = NETWORKS[network][0](), pairs_of(network, 8 * batches)
            CALLS[call](model, pairs, device="cuda", batch_size=8, **more)
        counts.append((gpu.kernels.total(), gpu.waits.total()))
    kernels, waits = ((after - before) / 4 for before, after in zip(*counts, strict=True))
    assert kernels <= KERNELS_A_BATCH
    assert waits <= (WAITS_OF_UNTRACEABLE if network == "untraceable" else WAITS_A_BATCH)


@pytest.mark.parametrize("kernel", [1, 3])
def test_unit_ablation__launches_as_often_for_many_units_as_for_few(kernel):
    kernels = []
    for width in (4, 32):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, width, 3), nn.ReLU(), nn.Conv2d(width, 3, kernel), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4),
        )  # fmt: skip
        with simulated_gpu() as gpu:
            pairs = random_pairs(4, 2, 8, 8, dtype=torch.float32)
            ul.unit_ablation(model, pairs, layers=["1"], device="cuda")
        kernels.append(gpu.kernels.total())
    assert kernels[1] <= kernels[0] + 10


@pytest.mark.parametrize("call", ["unit_ablation zero", "cumulative_ablation zero", "first_order"])
@pytest.mark.parametrize("network", ["mlp", "convnet", "residual"])
def test_precision__is_that_of_ieee_unless_tf32_is_asked_for(call, network):
    model, pairs = NETWORKS[network][0]().float(), pairs_of(network)
    pairs.inputs = pairs.inputs.float()
    torch.backends.cudnn.allow_tf32 = True  # as PyTorch has it
    exact = CALLS[call](model, pairs, precision="float64")

    errors = {}
    for precision in (None, "tf32"):
        with simulated_gpu():
            torch.set_float32_matmul_precision("high")
            try:
                found = CALLS[call](model, pairs, device="cuda", precision=precision)
            finally:
                torch.set_float32_matmul_precision("highest")
        name = "loss" if "cumulative" in call else "loss_increase"
        errors[precision] = differences(found, exact)[name]

    assert errors[None] < 2e-5
    assert 3 * errors[None] < errors["tf32"] < 0.1


@pytest.mark.parametrize("network", ["convnet", "untraceable"])
@pytest.mark.parametrize("call", sorted(CALLS))
def test_call__without_memory_ends_in_one_line_or_in_the_same_numbers(call, network):
    pairs, more = pairs_of(network), prepared_for(call, network)
    make = NETWORKS[network][0]
    with simulated_gpu() as counting:
        expected = CALLS[call](make(), pairs, device="cuda", **more)
    ended, told = 0, []
    for fails_at in np.linspace(1, counting.allocations, FAULTS).astype(int).tolist():
        model = make()
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        try:
            with simulated_gpu() as gpu:
                gpu.fails_at = fails_at
                found = CALLS[call](model, pairs, device="cuda", **more)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be this one
            told.append(error)
        else:
            ended += 1
            assert max(differences(found, expected).values()) < 1e-9
        torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
        assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert [error for error in told if not lacks_memory(error) or "\n" in str(error)] == []
    assert len(told) + ended == FAULTS


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_unit_ablation__takes_a_model_and_data_that_are_on_the_gpu(network):
    make, pairs = NETWORKS[network][0], pairs_of(network)
    expected = ul.unit_ablation(make(), pairs)
    with simulated_gpu():
        model = make().to("cuda")
        on_gpu = Pairs(pairs.inputs.to("cuda"), pairs.labels.to("cuda"))
        found = ul.unit_ablation(model, on_gpu)
        assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
    assert max(differences(found, expected).values()) < 1e-9
    assert found.attrs["device"].startswith("simulated GPU")


def test_direction_ablation__takes_directions_and_scores_that_are_on_the_gpu():
    model, pairs = mlp(), pairs_of("mlp")
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0][:2]

    def score(outputs, targets):
        return outputs.gather(1, targets[:, None])[:, 0]

    expected = ul.direction_ablation(model, pairs, {"2": directions}, score=score)
    with simulated_gpu():
        given = {"2": torch.as_tensor(directions, device="cuda")}
        found = ul.direction_ablation(model, pairs, given, score=score, device="cuda")
    assert max(differences(found, expected).values()) < 1e-9


def test_perturbations__take_values_and_scales_that_are_on_the_gpu():
    model, pairs = mlp(), pairs_of("mlp")
    number = torch.linspace(0, 1, 16, dtype=torch.float64)
    expected = ul.unit_ablation(model, pairs, value=number)
    noise = ul.noise_robustness(model, pairs, [0.5, 1.0], variance=number)
    with simulated_gpu():
        found = ul.unit_ablation(model, pairs, value=number.to("cuda"), device="cuda")
        scales = torch.tensor([0.5, 1.0], device="cuda")
        noisy = ul.noise_robustness(model, pairs, scales, variance=number.to("cuda"), device="cuda")
    assert max(differences(found, expected).values()) < 1e-9
    assert max(differences(noisy, noise).values()) < 1e-9


def test_cumulative_ablation__has_few_shapes_of_operations():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 70, 3), nn.ReLU(), nn.Conv2d(70, 90, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(90, 4),
    ).double()  # fmt: skip
    pairs = random_pairs(4, 2, 8, 8)
    expected = ul.cumulative_ablation(model, pairs, orders=3, points=21)
    with simulated_gpu() as gpu:
        found = ul.cumulative_ablation(model, pairs, orders=3, points=21, device="cuda")
    assert max(differences(found, expected).values()) < 1e-9
    # Of 63 sets; 32, 64 and 70 channels are read and 32, 64 and 90 computed, beside whole passes.
    assert len(gpu.shapes[aten.convolution]) <= 30


@pytest.mark.parametrize("score", ["top1", "top2"])
@pytest.mark.parametrize("memory_gb", [2, 1e-5])
def test_unit_ablation__of_dense_heads_has_the_numbers_of_the_cpu(score, memory_gb, monkeypatch):
    monkeypatch.setitem(BUILT_IN, "top2", 2)
    model, pairs = mlp(), pairs_of("mlp", 40)
    with torch.no_grad():
        model[0].weight[3] = model[0].bias[3] = 0  # a unit that is off
    expected = ul.unit_ablation(model, pairs, score=score)
    with simulated_gpu() as gpu:
        found = ul.unit_ablation(model, pairs, score=score, memory_gb=memory_gb, device="cuda")
    assert max(differences(found, expected).values()) < 1e-9
    assert gpu.kernels["aten.addcmul"] > 0


def test_unit_ablation__keeps_a_nan_of_a_class_to_the_class():
    model, pairs = mlp(), pairs_of("mlp", 40)
    with torch.no_grad():
        pairs.inputs[0, 0] = torch.nan
    expected = ul.unit_ablation(model, pairs)
    with simulated_gpu():
        found = ul.unit_ablation(model, pairs, device="cuda")
    np.testing.assert_array_equal(
        found["class_loss_increase"].isnull(), expected["class_loss_increase"].isnull()
    )
    assert not expected["class_loss_increase"].isnull().all()
