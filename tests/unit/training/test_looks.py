"""Looks keep the network after a part of an epoch, and leave no trace in its training."""

import re

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from small_trainings import run_spec
from unitlens.config.runs import run_name
from unitlens.data.prepare import load_dataset
from unitlens.errors import ModelError
from unitlens.seeds import seeded
from unitlens.training import resume_state
from unitlens.training import train as train_module
from unitlens.training.checkpoints import load_checkpoint, read_record
from unitlens.training.epochs import split_order
from unitlens.training.look_steps import (
    count_steps,
    find_crowded_look,
    nearest_step,
    steps_of_looks,
    trained_epochs,
)
from unitlens.training.models import build_model
from unitlens.training.network_origin import hash_texts, specification
from unitlens.training.train import train

CONVNET = {"name": "convnet", "channels": [8, 8], "strides": [2, 1]}
EVERY_QUARTER = {"every": 0.25, "until": 2}
CASES = {
    "dropout": {"model": {"name": "mlp", "widths": [24], "dropout": 0.3}},
    "batch norm": {"model": CONVNET, "augmentation": ["flip", "crop"], "optimizer": "adam"},
    "batch norm of an mlp": {"model": {"name": "mlp", "widths": [24, 16], "batch_norm": True}},
    "regulariser": {"selectivity_regulariser": 0.5},
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def kept_record(directory, name):
    return load_checkpoint(directory / f"epoch-{name}")[1]


def all_records(directory):
    """Return every record under a folder, by the folder's name."""
    return {
        path.parent.name if path.parent != directory else "": read_record(path)
        for path in directory.rglob("checkpoint.json")
    }


# what a look holds


def plain_steps(digits, spec, steps):
    """Train by a loop of plain PyTorch over the same batches; return the network."""
    dataset, training = load_dataset(digits, "train", seed=spec.seed), spec.training
    model = build_model(spec.model, input_shape=(1, 8, 8), classes=10, seed=spec.seed)
    layers = [module for module in model if isinstance(module, nn.Linear)]
    weights = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    speeds = [torch.zeros_like(weight) for weight in weights]
    done = 0
    for epoch in range(training.epochs):
        order = seeded(spec.seed, "order", epoch).permutation(len(dataset))
        for start in range(0, len(order), training.batch_size):
            if done == steps:
                return model
            rows = order[start : start + training.batch_size]
            inputs, labels = dataset.batch(rows)
            hidden = inputs.flatten(1)
            for layer in layers[:-1]:
                hidden = torch.clamp(hidden @ layer.weight.T + layer.bias, min=0)
            logits = hidden @ layers[-1].weight.T + layers[-1].bias
            right = logits[torch.arange(len(rows)), labels]
            loss = (torch.logsumexp(logits, 1) - right).mean()
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for weight, speed, gradient in zip(weights, speeds, gradients, strict=True):
                    speed.mul_(training.momentum).add_(gradient)
                    weight -= training.learning_rate * speed
            done += 1
    return model


# An epoch has 12 batches: 1,437 samples by 128.
@pytest.mark.parametrize(
    ("look", "steps"), [(0.25, 3), (0.3, 4), (0.5, 6), (0.9, 11), (1.25, 15), (1.125, 14)]
)
def test_look__is_the_network_after_the_nearest_batch(digits, tmp_path, look, steps):
    spec = run_spec(checkpoints=[look])
    train(spec, digits, tmp_path)
    (folder,) = tmp_path.glob("epoch-*")
    assert folder.name == f"epoch-000{look}"

    kept, record = load_checkpoint(folder)
    expected = plain_steps(digits, spec, steps)

    for ours, plain in zip(kept.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)
    assert (record.epoch, trained_epochs(record.epoch, record.origin_parts)) == (int(look), look)
    for split in ("train", "test"):
        dataset = load_dataset(digits, split)
        inputs, labels = dataset.batch(np.arange(len(dataset)))
        with torch.no_grad():
            logits = expected.eval()(inputs).double()
        accuracy = (logits.argmax(1) == labels).double().mean().item()
        loss = (torch.logsumexp(logits, 1) - logits[torch.arange(len(labels)), labels]).mean()
        assert getattr(record, f"{split}_loss") == pytest.approx(loss.item(), rel=1e-4)
        assert getattr(record, f"{split}_accuracy") == pytest.approx(accuracy, abs=2e-3)


@pytest.mark.parametrize("case", CASES)
def test_looks__leave_no_trace_in_the_training(digits, tmp_path, case):
    train(run_spec(**CASES[case]), digits, tmp_path / "plain")
    spec = run_spec(**CASES[case], checkpoints=[0, EVERY_QUARTER])
    train(spec, digits, tmp_path / "looked")

    plain, looked = (load_checkpoint(tmp_path / name)[1] for name in ("plain", "looked"))
    assert looked.weights_hash == plain.weights_hash
    assert looked.origin_parts == plain.origin_parts
    histories = [
        xr.load_dataset(tmp_path / name / "history.nc", engine="h5netcdf")
        for name in ("plain", "looked")
    ]
    assert histories[0].identical(histories[1])
    assert histories[1]["epoch"].values.tolist() == [0, 1, 2]
    records = all_records(tmp_path / "looked")
    assert len(records) == 10
    assert len({record.weights_hash for record in records.values()}) == 9  # the last is the end


def test_looks__of_a_network_that_draws_random_numbers_where_it_is_scored(
    digits, tmp_path, monkeypatch
):
    (tmp_path / "my_noisy.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Noisy(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.hidden, self.output = nn.Linear(64, 16), nn.Linear(16, 10)\n"
        "    def forward(self, inputs):\n"
        "        hidden = self.hidden(inputs.flatten(1)).relu()\n"
        "        noise = torch.rand(hidden.shape) if self.training else torch.rand(1).round() * 0\n"
        "        return self.output(hidden + noise)\n"
        "def network():\n"
        "    torch.manual_seed(3)\n"
        "    return Noisy()\n"
    )
    monkeypatch.chdir(tmp_path)
    model = {"name": "my_noisy:network"}
    train(run_spec(model), digits, tmp_path / "plain")
    train(run_spec(model, checkpoints=EVERY_QUARTER), digits, tmp_path / "looked")

    plain, looked = (read_record(tmp_path / of / "checkpoint.json") for of in ("plain", "looked"))
    assert plain.weights_hash == looked.weights_hash


def test_looks__after_an_early_stop_hold_the_network_at_the_stop(digits, tmp_path):
    stop = {"train_accuracy": 0.2, "epochs": 1}
    spec = run_spec(epochs=9, checkpoints=[0.5, 1, 1.5, 9], stop=stop)
    train(spec, digits, tmp_path)
    final = load_checkpoint(tmp_path)[1]

    assert final.epoch == 1
    for name in ("0001", "0001.5", "0009"):
        assert kept_record(tmp_path, name).weights_hash == final.weights_hash
        assert trained_epochs(1, kept_record(tmp_path, name).origin_parts) == 1
    half = kept_record(tmp_path, "0000.5")
    assert half.weights_hash != final.weights_hash
    assert trained_epochs(half.epoch, half.origin_parts) == 0.5


# resuming


class KilledError(Exception):
    """Stands for the end of a process."""


def killed_at_save(count, spec, digits, run):
    """Train until the state has been saved so many times; tell whether the training went on."""
    saves = []
    save = resume_state.ResumeFolder.save

    def save_and_die(self, model, optimizer, progress):
        save(self, model, optimizer, progress)
        self._last, self._pause = 0.0, 0.0
        saves.append(progress.step)
        if len(saves) == count:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume_state, "SECONDS_BETWEEN_SAVES", 0.0)
        patch.setattr(resume_state.ResumeFolder, "save", save_and_die)
        try:
            train(spec, digits, run)
        except KilledError:
            return True
    return False


# The state is saved after each of twelve batches and after the epoch, 26 times in all.
@pytest.mark.parametrize(
    ("case", "counts"), [("dropout", range(1, 27)), ("batch norm", (3, 4, 9, 13, 14, 19))]
)
def test_train__killed_after_any_batch_keeps_the_same_looks(digits, tmp_path, case, counts):
    spec = run_spec(**CASES[case], checkpoints=[0, 0.25, 0.75, 1, 1.5])
    train(spec, digits, tmp_path / "undisturbed")
    expected = all_records(tmp_path / "undisturbed")
    assert len(expected) == 6

    for count in counts:
        run = tmp_path / str(count)
        assert killed_at_save(count, spec, digits, run)
        train(spec, digits, run)
        assert all_records(run) == expected


def test_train__killed_while_a_look_is_kept_keeps_the_same_looks(digits, tmp_path, monkeypatch):
    spec = run_spec(**CASES["dropout"], checkpoints=EVERY_QUARTER)
    train(spec, digits, tmp_path / "undisturbed")
    expected = all_records(tmp_path / "undisturbed")
    save = train_module.save_checkpoint
    monkeypatch.setattr(resume_state, "SECONDS_BETWEEN_SAVES", 0.0)
    for count in range(8):
        for written in (False, True):
            run, calls = tmp_path / f"{count}-{written}", []

            def save_or_die(*arguments, calls=calls, count=count, written=written):
                calls.append(arguments)
                if len(calls) > count:
                    if written:
                        save(*arguments)
                    raise KilledError
                save(*arguments)

            with monkeypatch.context() as patch:
                patch.setattr(train_module, "save_checkpoint", save_or_die)
                with pytest.raises(KilledError):
                    train(spec, digits, run)

            train(spec, digits, run)

            assert all_records(run) == expected


# looks without a batch of their own


@pytest.mark.parametrize("samples", [1, 2, 7, 8, 9, 16, 17, 1437])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 128])
def test_count_steps__is_the_number_of_batches(samples, batch_size):
    assert count_steps(samples, batch_size) == len(split_order(np.arange(samples), batch_size))


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 12, 469])
@pytest.mark.parametrize("whole", [0, 1, 37])
def test_nearest_step__is_the_nearest_by_a_search(steps, whole):
    for thousandths in [*range(1, 1000, 9), 125, 250, 500, 750, 999]:
        look = whole + thousandths / 1000
        distance = [abs(1000 * step - thousandths * steps) for step in range(steps + 1)]
        nearest = [step for step in range(steps + 1) if distance[step] == min(distance)]
        assert nearest_step(look, steps) == nearest[-1]


def test_steps_of_looks__are_those_of_the_epoch():
    looks = (0, 0.25, 0.5, 1, 1.5, 2, 2.75)

    assert steps_of_looks(looks, 0, 12) == {3: 0.25, 6: 0.5}
    assert steps_of_looks(looks, 1, 12) == {6: 1.5}
    assert steps_of_looks(looks, 2, 12) == {9: 2.75}
    assert steps_of_looks(looks, 3, 12) == {}


@pytest.mark.parametrize(
    ("looks", "steps", "line"),
    [
        ([0.25, 0.26], 12, "0.25 and 0.26 fall on the same batch, number 3 of 12 of the epoch"),
        ([1, 1.01], 12, r"1.01 falls on no batch .* \(12\) it comes before the first; keep 1 inst"),
        ([1.99], 12, r"1.99 falls on no batch .* \(12\) it comes after the last; keep 2 instead"),
        ([0.25, 0.5, 0.75], 2, "0.5 and 0.75 fall on|0.25 and 0.5 fall on"),
        ([0.5], 1, r"0.5 falls on no batch .*of the batch of an epoch \(1\)"),
    ],
)
def test_crowded_looks__are_named(looks, steps, line):
    assert re.search(line, find_crowded_look(looks, steps))


def test_crowded_looks__are_none_where_each_has_its_batch():
    quarters = [quarter / 4 for quarter in range(41)]

    assert find_crowded_look(quarters, 4) is None
    assert find_crowded_look(quarters, 469) is None
    assert find_crowded_look(quarters, 3) is not None
    assert find_crowded_look([1, 2, 3], 1) is None


def test_train__refuses_crowded_looks_before_it_trains(digits, tmp_path, untrainable):
    untrainable()
    with pytest.raises(
        ModelError, match=r"training\.checkpoints: 0\.25 and 0\.26 fall on the same"
    ):
        train(run_spec(checkpoints=[0.25, 0.26]), digits, tmp_path)

    assert not list(tmp_path.rglob("checkpoint.json"))


def test_train__that_fails_at_a_look_is_recorded_as_failed(digits, tmp_path):
    spec = run_spec(learning_rate=1e30, checkpoints=[0.25, 1])
    with pytest.raises(ModelError, match=r"loss after epoch 0\.25 is .*lower training\.learning"):
        train(spec, digits, tmp_path)
    train(spec, digits, tmp_path, failed="skip")

    record = read_record(tmp_path / "checkpoint.json")
    assert record.failed.startswith("the loss after epoch 0.25 is")
    assert list(all_records(tmp_path)) == [""]
    assert not (tmp_path / "resume").exists()


# networks that are there already


def test_train__leaves_a_network_with_looks_as_it_is(digits, tmp_path, untrainable):
    spec = run_spec(checkpoints=[0.5, 1])
    train(spec, digits, tmp_path, code="a1")
    before = all_records(tmp_path)
    untrainable()

    train(spec, digits, tmp_path, code="a1")

    assert all_records(tmp_path) == before


@pytest.mark.parametrize("other", ["0000.25", "0001"])
def test_train__makes_looks_of_another_epoch_anew(digits, tmp_path, other):
    spec = run_spec(checkpoints=[0.25, 0.5, 1])
    train(spec, digits, tmp_path, code="a1")
    before = all_records(tmp_path)
    for name in ("checkpoint.json", "checkpoint.safetensors"):
        source, target = (tmp_path / f"epoch-{of}" / name for of in (other, "0000.5"))
        target.write_bytes(source.read_bytes())

    train(spec, digits, tmp_path, code="a1")

    assert all_records(tmp_path) == before


# Computed by unitlens 0.8.0.
NAMES_OF_0_8 = {
    "digits-mlp-seed1-8e269efb1c70": (
        {"name": "mlp"},
        "39603563e0942db19a7853a9775382eb14f12b190a1936dec2360cfe4f59b6df",
    ),
    "digits-mlp-bn-seed1-e706b3aab696": (
        {"name": "mlp", "widths": [64], "batch_norm": True},
        "a50ad75c0b887e724382af57d9b3211352ef8620509a21bb135f3297803694b3",
    ),
    "digits-convnet-bn-seed1-33bef7c6c111": (
        {"name": "convnet"},
        "a86fa4476136d5ecbce1bdc3924b613131f03a4c0e797c3a08ae964cbc8473ac",
    ),
}


@pytest.mark.parametrize("checkpoints", [[], [0, 1, 3], [0.25, 2.5], {"every": 0.25, "until": 3}])
@pytest.mark.parametrize("name", NAMES_OF_0_8)
def test_names_and_origins__are_those_of_0_8_with_any_looks(name, checkpoints):
    model, origin = NAMES_OF_0_8[name]
    plain = run_spec(model).model_dump(mode="json")
    plain["training"] = {"epochs": 3, "checkpoints": checkpoints}
    spec = type(run_spec()).model_validate(plain | {"seed": 1})

    assert run_name(spec) == name
    assert hash_texts(specification(spec)) == origin
