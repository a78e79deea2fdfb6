"""Weights files loaded into networks from Python, against the tensors that were saved."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import unitlens as ul
from unitlens.errors import ModelError


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 1))


def equal(first, second):
    return all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def saved(content, path):
    torch.save(content, path)
    return path


def named(state, prefix):
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


CONTENTS = {
    "averaged": lambda trained: AveragedModel(trained).state_dict(),
    "checkpoint": lambda trained: {"epoch": 3, "model": trained.state_dict()},
    "compiled": lambda trained: named(trained.state_dict(), "_orig_mod"),
    "model": lambda trained: {"state_dict": named(trained.state_dict(), "model"), "step": 3},
    "parallel": lambda trained: nn.DataParallel(trained).state_dict(),
    "state dict": lambda trained: trained.state_dict(),
}
WRAPPED = {
    "averaged": AveragedModel,
    "none": lambda model: model,
    "parallel": nn.DataParallel,
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("kind", CONTENTS)
def test_load_weights__are_those_that_were_saved(tmp_path, kind, wrapper):
    trained, model = network(1), WRAPPED[wrapper](network(2))
    path = saved(CONTENTS[kind](trained), tmp_path / "w.pt")

    assert ul.load_weights(model, path) is model
    assert equal(model if wrapper == "none" else model.module, trained)


def test_load_weights__of_a_network_with_wrapped_parts(tmp_path):
    trained, plain = (nn.Sequential(network(seed), nn.Flatten()) for seed in (1, 2))
    wrapped = nn.Sequential(nn.DataParallel(network(3)), nn.Flatten())
    ul.load_weights(wrapped, saved(trained.state_dict(), tmp_path / "plain.pt"))
    assert equal(wrapped, trained)
    ul.load_weights(wrapped, saved(nn.Sequential(nn.DataParallel(plain[0])).state_dict(),
                                   tmp_path / "wrapped.pt"))  # fmt: skip
    assert equal(wrapped, plain)


def test_load_weights__safetensors(tmp_path):
    trained, other, model = (network(seed) for seed in (1, 2, 3))
    path = str(tmp_path / "w.safetensors")
    save_file(trained.state_dict(), path)
    assert equal(ul.load_weights(model, path), trained)
    save_file(named(trained.state_dict(), "net") | named(other.state_dict(), "ema"), path)
    assert equal(ul.load_weights(model, path, key="ema"), other)


@pytest.mark.parametrize("inside", [True, False])
def test_key__as_the_error_names_it_chooses_the_network(tmp_path, inside):
    trained, averaged, model = (network(seed) for seed in (1, 2, 3))
    content = named(trained.state_dict(), "net") | named(averaged.state_dict(), "ema.module")
    path = saved({"state_dict": content, "step": 3} if inside else content, tmp_path / "w.pt")

    with pytest.raises(
        ModelError, match=r"they lack .* and 5 more; key = 'net' or 'ema.module' ch"
    ):
        ul.load_weights(model, path)
    assert equal(ul.load_weights(model, path, key="net"), trained)
    assert equal(ul.load_weights(model, path, key="ema.module"), averaged)
    assert equal(ul.load_weights(model, path, key="ema"), averaged)  # the rest is a prefix of all


def test_key__chooses_among_state_dicts(tmp_path):
    trained, averaged, model = (network(seed) for seed in (1, 2, 3))
    content = {"model": trained.state_dict(), "ema": {"module": averaged.state_dict()}}
    path = saved(content | {"old": trained.state_dict()}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"^path = .*under 'model', 'old'; choose one by key$"):
        ul.load_weights(model, path)
    with pytest.raises(ModelError, match=r"^key = 'emo' is no key in .*; did you mean 'ema'\?$"):
        ul.load_weights(model, path, key="emo")
    assert equal(ul.load_weights(model, path, key="ema.module"), averaged)
    assert equal(ul.load_weights(model, path, key="model"), trained)


REFUSED = {
    "a head of another width": (
        {"3.weight": torch.zeros(9, 2, 1, 1)},
        "size mismatch for 3.weight: .*; build the network with the arguments of the one that was",
    ),
    "another tensor": ({"4.weight": torch.zeros(1)}, "also hold 4.weight; did you mean"),
    "integers": (
        {"3.weight": torch.ones(3, 2, 1, 1, dtype=torch.int8)},
        "3.weight is of torch.int8, but of torch.float32 in the network; save weights that are not",
    ),
    "a number": ({"3.bias": 2}, r"^path = .* its item '3.bias' is a int, not a tensor; save the"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_load_weights__refused_weights_leave_the_network_as_it_was(tmp_path, kind):
    change, message = REFUSED[kind]
    model = network(2)
    path = saved(network(1).state_dict() | change, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message) as raised:
        ul.load_weights(model, path)
    assert "\n" not in str(raised.value)
    assert equal(model, network(2))


def test_load_weights__names_what_is_missing(tmp_path):
    model, state = network(2), network(1).state_dict()
    del state["3.bias"]
    with pytest.raises(ModelError, match=r"w\.pt' do not fit the network: they lack 3\.bias; did"):
        ul.load_weights(model, saved(state, tmp_path / "w.pt"))
    assert equal(model, network(2))
    with pytest.raises(ModelError, match=r"^path = 'gone\.pt': there is no such file"):
        ul.load_weights(model, "gone.pt")
