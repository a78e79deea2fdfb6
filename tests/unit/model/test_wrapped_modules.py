"""Wrapped models give what their own modules give; what cannot be read is refused in one line."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ModelError
from unitlens.model.wrapped_modules import unwrap

INPUTS = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
DATASET = TensorDataset(INPUTS, torch.arange(20) % 3)


def network():
    torch.manual_seed(1)
    body = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
    return nn.Sequential(body, nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)).eval()


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


def compiled_inside(model):
    model[0] = compiled(model[0])
    model[2].compile(backend="eager")
    return model


def compiled_forward(model):
    model.forward = compiled(model.forward)
    return model


def parallel_inside(model):
    model[0] = nn.DataParallel(checkpoint_wrapper(model[0]))
    return model


def run(model, inputs):
    with torch.no_grad():
        return model(inputs)


WRAPPERS = {
    "averaged": AveragedModel,
    "checkpointed": checkpoint_wrapper,
    "compiled": compiled,
    "compiled forward": compiled_forward,
    "compiled in place": compiled_in_place,
    "compiled inside": compiled_inside,
    "compiled twice": lambda model: nn.DataParallel(compiled(model)),
    "parallel": nn.DataParallel,
    "parallel inside": parallel_inside,
}


@pytest.fixture(scope="module")
def plain():
    return ul.unit_ablation(network(), DATASET)


@pytest.mark.parametrize("called_before", [False, True])
@pytest.mark.parametrize("kind", WRAPPERS)
def test_wrapped__equals_the_plain_network(kind, called_before, plain, tmp_path):
    torch._dynamo.reset()
    model = WRAPPERS[kind](network())
    if called_before:
        run(model, INPUTS[:2])
        run(model, INPUTS)
    before = dict(model.named_modules())

    layers = ul.unit_layers(model, INPUTS)
    path = ul.record_activations(model, DATASET, tmp_path / "a.zarr")
    recorded = ul.open_activations(path)

    assert [layer.name for layer in layers] == ["0.1", "2"]
    table = ul.unit_ablation(model, DATASET)
    np.testing.assert_array_equal(table["loss_increase"], plain["loss_increase"])
    expected = network()[0](INPUTS).detach()
    np.testing.assert_allclose(recorded["0.1"].activation, expected, atol=1e-6)
    assert dict(model.named_modules()) == before
    torch.testing.assert_close(run(model, INPUTS), run(network(), INPUTS))


def test_wrapped__store_is_that_of_the_plain_network(tmp_path):
    path = ul.record_activations(network(), DATASET, tmp_path / "a.zarr")
    written = (tmp_path / "a.json").stat().st_mtime_ns
    for kind in ("parallel", "parallel inside", "compiled inside"):
        ul.record_activations(WRAPPERS[kind](network()), DATASET, path)
    assert (tmp_path / "a.json").stat().st_mtime_ns == written


def test_distributed_data_parallel():
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(network())
        names = [layer.name for layer in ul.unit_layers(model, INPUTS)]
    finally:
        torch.distributed.destroy_process_group()
    assert names == ["0.1", "2"]


class Doubling(nn.DataParallel):
    def forward(self, inputs):
        return 2 * self.module(inputs)


def test_wrapper_that_computes_something_of_its_own_stays():
    model = Doubling(network())
    assert unwrap(model) is model
    table = ul.unit_ablation(model, DATASET)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(2 * network()(INPUTS).double(), DATASET.tensors[1])
    assert table.attrs["baseline_loss"] == pytest.approx(float(loss), rel=1e-5)


class NoForward(nn.Module):
    pass


REFUSED = {
    "scripted": (torch.jit.script, r"TorchScript.*was scripted, traced or frozen"),
    "traced": (
        lambda m: torch.jit.trace(m, INPUTS),
        r"TorchScript.*was scripted, traced or frozen",
    ),
    "frozen": (lambda m: torch.jit.freeze(torch.jit.script(m)), r"TorchScript.*or frozen"),
    "exported": (
        lambda m: torch.export.export(m, (INPUTS,)).module(),
        r"exported program.*give the torch.nn.Module that was exported",
    ),
    "program": (lambda m: torch.export.export(m, (INPUTS,)), r"ExportedProgram.*was exported"),
    "class": (type, r"the class Sequential, but must be a torch\.nn\.Module; make"),
    "function": (
        lambda m: m.forward,
        "a method, but must be a torch.nn.Module; give",
    ),
    "state dict": (lambda m: m.state_dict(), r"a state dict or a checkpoint.*by load_state_dict"),
    "none": (lambda _: None, "a NoneType, but must be"),
    "lazy": (
        lambda _: nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3)),
        r"the module '0' \(LazyLinear\) is lazy.*run the model once",
    ),
    "meta": (
        lambda _: nn.Sequential(nn.Linear(6, 8, device="meta"), nn.ReLU(), nn.Linear(8, 3)),
        r"'0' \(Linear\) are on the device 'meta'.*load its weights",
    ),
    "scripted inside": (
        lambda m: nn.Sequential(torch.jit.script(m[0]), *m[1:]),
        r"the module '0' is scripted or exported.*in its place",
    ),
    "exported inside": (
        lambda m: nn.Sequential(torch.export.export(m[0], (INPUTS,)).module(), *m[1:]),
        r"the module '0' is scripted or exported.*in its place",
    ),
    "without forward": (lambda _: NoForward(), "give the module that has a forward of its own"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_refused__in_one_line(kind, tmp_path):
    make, message = REFUSED[kind]
    model = make(network())
    calls = {
        "layers": lambda: ul.unit_layers(model, INPUTS),
        "ablation": lambda: ul.unit_ablation(model, DATASET),
        "recording": lambda: ul.record_activations(model, DATASET, tmp_path / "a.zarr"),
        "statistics": lambda: ul.network_statistics(model, DATASET),
    }
    for call in calls.values():
        with pytest.raises(ModelError, match=message) as raised:
            call()
        assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_scripted_inside__stays_where_it_has_no_units(plain):
    model = network()
    model[1] = torch.jit.script(model[1])
    table = ul.unit_ablation(model, DATASET)
    np.testing.assert_allclose(table["loss_increase"], plain["loss_increase"], atol=1e-6)


def test_lazy__works_once_the_model_has_run():
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(ModelError, match="lazy"):
        ul.unit_layers(model, INPUTS)
    model(INPUTS)
    assert len(ul.unit_layers(model, INPUTS)) == 1


class Raising(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.dense, self.error = nn.Linear(6, 3), error

    def forward(self, _):
        raise self.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (AssertionError("batch of 4"), "AssertionError: batch of 4"),
        (KeyError("mask"), "KeyError: 'mask'"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (RuntimeError("mat1"), r"\(3, 6\): mat1"),
    ],
)
def test_forward_that_raises__is_told_in_one_line(error, told):
    for call in (
        lambda: ul.unit_layers(Raising(error), INPUTS),
        lambda: ul.unit_ablation(Raising(error), DATASET),
    ):
        with pytest.raises(ModelError, match=f"cannot be run on inputs of shape.*{told}; give in"):
            call()


def test_mixed_types__the_remedy_works():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3).double())
    with pytest.raises(ModelError, match=r"types torch.float32, torch.float64: .* model.float()"):
        ul.unit_ablation(model, DATASET)
    assert ul.unit_ablation(model.float(), DATASET).sizes["unit"] == 8


@pytest.mark.parametrize("inference", [False, True])
def test_contexts_around_a_call_change_no_number(inference, plain, tmp_path):
    around = torch.inference_mode() if inference else torch.autocast("cpu", torch.bfloat16)
    with around:
        table = ul.unit_ablation(network(), DATASET)
        path = ul.record_activations(network(), DATASET, tmp_path / "a.zarr")
    np.testing.assert_array_equal(table["loss_increase"], plain["loss_increase"])
    assert table.attrs["precision"] == "float32"
    activation = ul.open_activations(path)["0.1"].activation
    np.testing.assert_allclose(activation, network()[0](INPUTS).detach(), atol=1e-6)
