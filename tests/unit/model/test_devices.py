"""The device of a computation is the model's own, or one that is there and can compute."""

import re
import types

import pytest
import torch

import unitlens as ul
from unitlens.errors import ArgumentError
from unitlens.model.devices import checked_device, find_device

DATA = [(torch.ones(2), 0), (torch.zeros(2), 1), (torch.ones(2), 1)]


def network():
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))


@pytest.fixture
def gpus(monkeypatch):
    """Let torch say that it has GPUs, by their compute capabilities and the kernels it has."""

    def pretend(capabilities, kernels):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"card {number}")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: kernels)
        monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)

    return pretend


def test_find_device__is_that_of_the_network_where_none_is_chosen():
    assert find_device(network(), None) == torch.device("cpu")
    assert find_device(torch.nn.ReLU(), None) == torch.device("cpu")


def test_find_device__refuses_a_network_on_several_devices_with_a_remedy_that_works():
    class Tensors(torch.nn.Module):
        """A network whose tensors say that they lie on other devices."""

        def parameters(self):
            for name in ("cuda:0", "cuda:1"):
                yield types.SimpleNamespace(device=torch.device(name), is_meta=False)

    with pytest.raises(
        ArgumentError, match="lie on cuda:0, cuda:1, but must lie on one"
    ) as refused:
        find_device(Tensors(), None)
    remedy = re.search(r"give device='([\w:]+)'", str(refused.value))[1]
    assert remedy == "cuda:0"
    assert find_device(Tensors(), "cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "kernels", "device", "expected"),
    [
        ([], [], "cuda", "no GPU that PyTorch can use"),
        ([(8, 0), (9, 0)], ["sm_80"], "cuda:3", "the GPUs here are cuda:0, cuda:1"),
        ([(6, 1)], ["sm_75", "sm_80", "compute_90"], "cuda", r"card 0 \(sm_61\) is not among"),
        ([(9, 0)], ["sm_75", "sm_80"], "cuda:0", r"\(sm_90\) is not among .*sm_75, sm_80"),
        ([(8, 0)], ["sm_86"], "cuda", r"\(sm_80\) is not among"),
        ([(10, 0)], ["sm_90a"], "cuda", r"\(sm_100\) is not among"),
        ([], [], "mps", "mps has no float64"),
        ([], [], "meta", "meta holds no numbers"),
        ([], [], "gpu", "must be a device of PyTorch, such as 'cpu'"),
    ],
)
def test_checked_device__refuses_what_cannot_compute_in_one_line(
    gpus, capabilities, kernels, device, expected
):
    gpus(capabilities, kernels)

    with pytest.raises(ArgumentError, match=expected) as refused:
        checked_device(device)
    assert len(str(refused.value).splitlines()) == 1
    assert str(refused.value).startswith(f"device is '{device}'")


@pytest.mark.parametrize(
    ("capability", "kernels"),
    [
        ((8, 0), ["sm_80"]),
        ((8, 9), ["sm_80"]),
        ((9, 0), ["sm_75", "compute_80"]),
        ((12, 0), ["sm_100", "sm_120"]),
        ((9, 0), ["sm_90a"]),
        ((7, 5), []),
        ((10, 3), ["sm_100f"]),
        ((9, 0), ["gfx90a"]),  # the names of another maker's GPUs tell nothing here
    ],
)
def test_checked_device__takes_a_card_that_has_kernels(gpus, capability, kernels):
    gpus([capability], kernels)

    assert checked_device("cuda") == torch.device("cuda")


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "nonsense"])
def test_functions__refuse_a_device_that_is_not_there(device, tmp_path):
    if device.startswith("cuda") and torch.cuda.is_available():
        device = "cuda:99"
    calls = [
        lambda data: ul.unit_ablation(network(), data, device=device),
        lambda data: ul.record_activations(network(), data, tmp_path / "acts", device=device),
    ]
    for call in calls:
        with pytest.raises(ArgumentError, match=f"device is '{device}'"):
            call(DATA)
    assert not (tmp_path / "acts").exists()


def test_unit_ablation__computes_on_the_device_of_the_model():
    assert ul.unit_ablation(network(), DATA)["loss_increase"].notnull().all()
