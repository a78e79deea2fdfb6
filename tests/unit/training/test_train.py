import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from unitlens.config.networks import RunSpec, TrainingSpec
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.errors import ModelError
from unitlens.training import resume_state
from unitlens.training.checkpoints import load_checkpoint
from unitlens.training.epochs import augment, learning_rate, make_optimizer, split_order
from unitlens.training.selectivity_regulariser import SelectivityTerm, batch_selectivity
from unitlens.training.train import train
from unitlens.variables.checks import validate


def run_spec(corruption=0.0, seed=0, model=None, weights=None, **training):
    training = {"epochs": 3, "learning_rate": 0.05, "batch_size": 64} | training
    model = model or {"name": "mlp", "widths": [32]}
    return RunSpec.model_validate(
        {
            "dataset": {"name": "digits", "corruption": corruption},
            "model": model,
            "training": training,
            "seed": seed,
        }
    )


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(digits, directory, spec):
    train(spec, digits, directory)
    return load_checkpoint(directory)


def history(directory):
    table = xr.load_dataset(directory / "history.nc", engine="h5netcdf")
    validate(table, "history")
    return table


# what comes out


def test_train__learns_and_writes_what_it_says(digits, tmp_path):
    model, record = trained(digits, tmp_path, run_spec(epochs=8))
    table = history(tmp_path)
    test = load_dataset(digits, "test")
    inputs, labels = test.batch(np.arange(len(test)))
    accuracy = (model(inputs).argmax(1) == labels).float().mean().item()

    assert record.test_accuracy == pytest.approx(accuracy, abs=1e-6)
    assert record.test_accuracy > 0.9
    assert record.epoch == 8
    assert table.epoch.values.tolist() == list(range(9))
    assert table.train_loss.values[-1] == record.train_loss
    assert table.test_accuracy.values[-1] == record.test_accuracy
    assert table.train_accuracy.values[0] < 0.4  # before training
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == [
        "checkpoint.json",
        "checkpoint.safetensors",
        "history.nc",
    ]


def test_train__scores_corrupted_labels(digits, tmp_path):
    spec = run_spec(1.0, model={"name": "mlp", "widths": [256]}, epochs=60, learning_rate=0.1)
    model, record = trained(digits, tmp_path, spec)
    dataset = load_dataset(digits, "train", corruption=1.0, seed=0)
    inputs, _ = dataset.batch(np.arange(len(dataset)))
    predictions = model(inputs).argmax(1).numpy()

    assert record.train_accuracy == pytest.approx((predictions == dataset.labels).mean())
    assert record.train_accuracy > 0.9  # memorised
    assert record.test_accuracy < 0.3
    assert record.dataset_identity == dataset.identity


def test_train__is_deterministic_and_touches_no_global_state(digits, tmp_path):
    spec = run_spec(model={"name": "mlp", "widths": [32], "dropout": 0.5})
    torch.manual_seed(1)
    before = torch.get_rng_state()
    _, first = trained(digits, tmp_path / "first", spec)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    _, second = trained(digits, tmp_path / "second", spec)
    _, other = trained(digits, tmp_path / "other", spec.model_copy(update={"seed": 1}))

    assert first == second
    assert first.weights_hash != other.weights_hash


def test_train__equals_a_plain_loop_of_pytorch(digits, tmp_path):
    """The same order of samples, a plain optimiser, no fast layers: the same network."""
    from unitlens.seeds import seeded
    from unitlens.training.models import build_model

    spec = run_spec(model={"name": "mlp", "widths": [300]}, epochs=2, weight_decay=0.01)
    model, _ = trained(digits, tmp_path, spec)
    dataset = load_dataset(digits, "train")
    plain = build_model(spec.model, input_shape=(1, 8, 8), classes=10, seed=0)
    optimizer = torch.optim.SGD(
        plain.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01, foreach=False
    )
    for epoch in range(2):
        order = seeded(0, "order", epoch).permutation(len(dataset))
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            inputs = torch.stack([dataset[int(i)][0] for i in batch])
            labels = torch.tensor([dataset[int(i)][1] for i in batch])
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(inputs), labels).backward()
            optimizer.step()

    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", [{"name": "constant"}, {"name": "step", "milestones": [2]}])
def test_train__every_optimiser_learns(digits, tmp_path, optimizer, schedule):
    rate = 0.05 if optimizer == "sgd" else 0.005
    spec = run_spec(optimizer=optimizer, learning_rate=rate, schedule=schedule)

    assert trained(digits, tmp_path, spec)[1].test_accuracy > 0.8


def test_train__convnets_learn_with_augmentation(digits, tmp_path):
    model = {"name": "convnet", "channels": [8, 16], "strides": [1, 2]}
    spec = run_spec(model=model, epochs=12, batch_size=32, augmentation=["crop"])

    assert trained(digits, tmp_path, spec)[1].test_accuracy > 0.8


def test_train__takes_a_network_as_its_weights_file_has_it(digits, tmp_path, monkeypatch):
    (tmp_path / "my_untrained.py").write_text(
        "from torch import nn\n"
        "def network():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    source = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    torch.save(source.state_dict(), tmp_path / "w.pt")
    model = {"name": "my_untrained:network", "weights": "w.pt"}
    spec = RunSpec.model_validate({"dataset": {"name": "digits"}, "model": model})
    loaded, record = trained(digits, tmp_path / "run", spec)

    assert torch.equal(loaded[1].weight, source[1].weight)
    assert record.epoch == 0
    assert history(tmp_path / "run").train_loss.values.tolist() == [record.train_loss]


# stopping and keeping


def test_train__stops_when_the_training_set_is_learnt(digits, tmp_path):
    spec = run_spec(epochs=50, stop={"train_accuracy": 0.97, "epochs": 2})
    train(spec, digits, tmp_path)
    accuracy = history(tmp_path).train_accuracy.values

    assert len(accuracy) < 30
    assert (accuracy[-2:] >= 0.97).all()
    assert not any((accuracy[e : e + 2] >= 0.97).all() for e in range(1, len(accuracy) - 2))


def test_train__keeps_epochs_and_the_last_one_after_an_early_stop(digits, tmp_path):
    stop = {"train_accuracy": 0.5, "epochs": 1}
    train(run_spec(epochs=9, checkpoints=[0, 1, 9], stop=stop), digits, tmp_path)
    kept = {name: load_checkpoint(tmp_path / f"epoch-000{name}")[1] for name in (0, 1, 9)}
    _, final = load_checkpoint(tmp_path)

    assert [record.epoch for record in kept.values()] == [0, 1, final.epoch]
    assert kept[9].weights_hash == final.weights_hash
    assert kept[0].train_accuracy == history(tmp_path).train_accuracy.values[0]
    assert not (tmp_path / "resume").exists()


def test_train__kept_epochs_do_not_change_the_network(digits, tmp_path):
    _, plain = trained(digits, tmp_path / "plain", run_spec())
    _, kept = trained(digits, tmp_path / "kept", run_spec(checkpoints=[0, 1, 2]))

    assert plain.weights_hash == kept.weights_hash


# what is there already


def test_train__leaves_a_finished_network_as_it_is(digits, tmp_path, untrainable):
    spec = run_spec(checkpoints=[0, 2])
    train(spec, digits, tmp_path, code="a1")
    weights, before = (tmp_path / "checkpoint.safetensors").read_bytes(), load_checkpoint(tmp_path)
    young = (tmp_path / "history.nc").stat().st_mtime_ns
    untrainable()

    train(spec, digits, tmp_path, code="a1")
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == weights
    assert load_checkpoint(tmp_path)[1] == before[1]
    assert (tmp_path / "history.nc").stat().st_mtime_ns > young

    train(run_spec(checkpoints=[2]), digits, tmp_path, code="a1")
    assert load_checkpoint(tmp_path)[1].spec.training.checkpoints == (2,)


@pytest.mark.parametrize(
    "change", ["code", "data", "kept epoch", "weights", "record", "history", "learning rate"]
)
def test_train__makes_a_network_anew_where_it_is_not_the_one(digits, tmp_path, change):
    spec, directory, data = run_spec(checkpoints=[1]), tmp_path / "run", digits
    train(spec, data, directory, code="a1")
    trained_at = (directory / "checkpoint.safetensors").stat().st_ino
    if change == "data":
        data = tmp_path / "other"
        prepare_dataset(spec.dataset.model_copy(update={"train_samples": 500}), data, data=data)
    elif change == "kept epoch":
        (directory / "epoch-0001/checkpoint.json").unlink()
    elif change == "weights":
        (directory / "checkpoint.safetensors").write_bytes(b"damaged")
    elif change == "record":
        (directory / "checkpoint.json").write_text("{}")
    elif change == "history":
        (directory / "history.nc").unlink()
    elif change == "learning rate":
        spec = run_spec(checkpoints=[1], learning_rate=0.06)

    train(spec, data, directory, code="b2" if change == "code" else "a1")

    assert (directory / "checkpoint.safetensors").stat().st_ino != trained_at
    assert load_checkpoint(directory)[1].spec == spec
    assert (directory / "epoch-0001/checkpoint.json").is_file()


def test_train__refuses_a_dead_loss(digits, tmp_path):
    with pytest.raises(ModelError, match=r"loss after epoch 1 is .*lower training\.learning_rate"):
        train(run_spec(learning_rate=1e30), digits, tmp_path)

    assert not (tmp_path / "checkpoint.json").exists()


def test_train__refuses_too_few_logits(digits, tmp_path, monkeypatch):
    (tmp_path / "my_narrow.py").write_text(
        "from torch import nn\n"
        "def network():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="puts out 4 logits, but the data set has the label 9"):
        train(run_spec(model={"name": "my_narrow:network"}), digits, tmp_path)


def test_train__takes_a_double_network_that_puts_out_a_dictionary(digits, tmp_path, monkeypatch):
    (tmp_path / "my_double.py").write_text(
        "from torch import nn\n"
        "class Network(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.hidden, self.output = nn.Linear(64, 32), nn.Linear(32, 10)\n"
        "    def forward(self, inputs):\n"
        "        hidden = self.hidden(inputs.flatten(1)).relu()\n"
        "        return {'hidden': hidden, 'logits': self.output(hidden)}\n"
        "def network():\n"
        "    return Network().double()\n"
    )
    monkeypatch.chdir(tmp_path)

    network, record = trained(digits, tmp_path, run_spec(model={"name": "my_double:network"}))

    assert next(network.parameters()).dtype == torch.float64
    assert record.train_accuracy > 0.5


def test_make_optimizer__refuses_a_network_that_is_frozen():
    with pytest.raises(ModelError, match="none of the network's parameters requires a gradient"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(requires_grad=False), run_spec().training)


# resuming

SCRIPT = """
import sys
from pathlib import Path
import torch
from unitlens.config.networks import RunSpec
from unitlens.training import resume_state, train as training

torch.set_num_threads(1)
resume_state.SECONDS_BETWEEN_SAVES = resume_state.SAVING_SHARE = 0.0
resume_state.SAVING_SHARE = 1e9
spec = RunSpec.model_validate_json(sys.argv[1])
training.train(spec, Path(sys.argv[2]), Path(sys.argv[3]))
"""

CASES = {
    "dropout": {"model": {"name": "mlp", "widths": [64], "dropout": 0.3}, "epochs": 40},
    "adam": {
        "model": {"name": "convnet", "channels": [8, 8], "strides": [2, 1]},
        "optimizer": "adam",
        "learning_rate": 0.01,
        "schedule": {"name": "cosine"},
        "augmentation": ["flip", "crop"],
        "epochs": 10,
        "checkpoints": [1, 3],
    },
}


@pytest.mark.parametrize("case", CASES)
def test_train__killed_and_resumed_equals_undisturbed(digits, tmp_path, case, caplog):
    spec = run_spec(0.5, **CASES[case])
    _, undisturbed = trained(digits, tmp_path / "undisturbed", spec)
    run = tmp_path / "killed"
    arguments = [spec.model_dump_json(), str(digits), str(run)]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments])
    state = run / "resume" / "state.pt"
    deadline = time.monotonic() + 60
    while _steps(state) < 31 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the training ended before it was killed"
    assert not (run / "checkpoint.json").exists()

    with caplog.at_level("INFO", logger="unitlens"):
        _, resumed = trained(digits, run, spec)

    assert any("resuming after" in message for message in caplog.messages)
    assert resumed == undisturbed
    assert history(run).identical(history(tmp_path / "undisturbed"))
    assert not (run / "resume").exists()
    for epoch in spec.training.checkpoints:
        one, other = (
            load_checkpoint(place / f"epoch-000{epoch}")[1]
            for place in (run, tmp_path / "undisturbed")
        )
        assert one == other


def _steps(state):
    """Return the number of finished steps of a state on disk; an epoch has 23."""
    if not state.exists():
        return 0
    content = torch.load(state, weights_only=True)
    return (len(content["history"]) - 1) * 23 + content["step"]


def test_train__ignores_the_state_of_another_training(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(resume_state, "SECONDS_BETWEEN_SAVES", 0.0)
    spec, other = run_spec(seed=1), run_spec(seed=1, learning_rate=0.01)
    monkeypatch.setattr(resume_state.ResumeFolder, "remove", lambda _: None)
    train(other, digits, tmp_path / "run")  # leaves its state behind
    assert (tmp_path / "run" / "resume" / "state.pt").exists()
    monkeypatch.undo()
    _, record = trained(digits, tmp_path / "run", spec)
    _, expected = trained(digits, tmp_path / "expected", spec)

    assert record == expected


def test_train__ignores_a_damaged_state(digits, tmp_path):
    (tmp_path / "run" / "resume").mkdir(parents=True)
    (tmp_path / "run" / "resume" / "state.pt").write_bytes(b"PK damaged")
    _, record = trained(digits, tmp_path / "run", run_spec())
    _, expected = trained(digits, tmp_path / "expected", run_spec())

    assert record == expected


# the parts


def test_learning_rate__step_and_cosine():
    step = {"name": "step", "milestones": [2, 3], "gamma": 0.5}
    spec = TrainingSpec(epochs=4, learning_rate=0.8, schedule=step)
    assert [learning_rate(spec, epoch) for epoch in range(4)] == [0.8, 0.8, 0.4, 0.2]

    spec = TrainingSpec(epochs=10, learning_rate=0.8, schedule={"name": "cosine"})
    reference = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(reference, 10)
    for epoch in range(10):
        assert learning_rate(spec, epoch) == pytest.approx(scheduler.get_last_lr()[0])
        reference.step()
        scheduler.step()


def test_make_optimizer__weight_decay_is_l2_or_adamws():
    model = nn.Linear(1, 1)
    kinds = {
        name: make_optimizer(model, TrainingSpec(epochs=1, optimizer=name, weight_decay=0.1))
        for name in ("sgd", "adam", "adamw")
    }

    assert {name: type(kind).__name__ for name, kind in kinds.items()} == {
        "sgd": "SGD",
        "adam": "Adam",
        "adamw": "AdamW",
    }
    assert all(kind.param_groups[0]["weight_decay"] == 0.1 for kind in kinds.values())
    assert kinds["sgd"].param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("samples", "sizes"), [(9, [4, 5]), (10, [4, 4, 2]), (8, [4, 4]), (1, [1])]
)
def test_split_order__a_single_sample_joins_the_batch_before_it(samples, sizes):
    batches = split_order(np.arange(samples), 4)

    assert [len(batch) for batch in batches] == sizes
    assert np.concatenate(batches).tolist() == list(range(samples))


def test_split_order__single_samples_where_they_are_asked_for():
    assert [len(batch) for batch in split_order(np.arange(3), 1)] == [1, 1, 1]


def test_augment__flips_half_of_the_images():
    torch.manual_seed(0)
    images = torch.arange(3.0).expand(1000, 1, 2, 3).contiguous()
    flipped = augment(images, ["flip"])
    same = (flipped == images).all((1, 2, 3))

    assert same.sum().item() == pytest.approx(500, abs=60)
    assert torch.equal(flipped[~same], images[~same].flip(3))


def test_augment__crops_are_shifts_with_zeros_at_the_rim():
    torch.manual_seed(0)
    images = torch.randn(50, 2, 16, 8)
    padded = nn.functional.pad(images, (1, 1, 2, 2))
    cropped = augment(images, ["crop"])
    positions = set()
    for image, whole in zip(cropped, padded, strict=True):
        places = [
            (top, left)
            for top in range(5)
            for left in range(3)
            if torch.equal(image, whole[:, top : top + 16, left : left + 8])
        ]
        assert len(places) == 1
        positions.add(places[0])
    assert len(positions) > 10


def test_augment__refuses_inputs_that_are_no_images():
    with pytest.raises(ModelError, match=r"augmentation = \['flip'\] needs images .* shape \(4,\)"):
        augment(torch.zeros(2, 4), ["flip"])


def naive_selectivity(activation, labels):
    """Loop over units and classes, after averaging positions."""
    units = activation.reshape(*activation.shape[:2], -1).mean(2).numpy().astype(float)
    values = []
    for unit in units.T:
        means = [unit[labels == label].mean() for label in np.unique(labels)]
        best = int(np.argmax(means))
        rest = np.mean([mean for place, mean in enumerate(means) if place != best])
        values.append((means[best] - rest) / (means[best] + rest + 1e-7))
    return np.mean(values)


@pytest.mark.parametrize("shape", [(40, 6), (40, 6, 3, 2)])
def test_batch_selectivity__equals_a_naive_loop(shape):
    torch.manual_seed(0)
    activation = torch.rand(shape)
    labels = torch.randint(0, 4, (40,)) * 2  # class 1, 3, 5 do not occur

    ours = batch_selectivity(activation, labels).item()

    assert ours == pytest.approx(naive_selectivity(activation, labels.numpy()), rel=1e-5)


def test_batch_selectivity__known_values():
    labels = torch.tensor([0, 0, 1, 1])
    one = torch.tensor([[3.0], [1.0], [1.0], [1.0]])  # means 2 and 1
    silent = torch.zeros(4, 1)
    perfect = torch.tensor([[1.0], [1.0], [0.0], [0.0]])

    assert batch_selectivity(one, labels).item() == pytest.approx(1 / 3)
    assert batch_selectivity(silent, labels).item() == 0.0
    assert batch_selectivity(perfect, labels).item() == pytest.approx(1.0)
    assert batch_selectivity(one, torch.zeros(4, dtype=torch.int64)).item() == 0.0


def test_selectivity_term__is_subtracted_as_the_mean_over_layers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3), nn.ReLU())
    inputs, labels = torch.randn(30, 5), torch.arange(30) % 3
    first = torch.relu(model[0](inputs))
    second = torch.relu(model[2](first))
    expected = 1.0 - 0.5 * np.mean(
        [naive_selectivity(a.detach(), labels.numpy()) for a in (first, second)]
    )
    term = SelectivityTerm(0.5)
    with term.collecting(model):
        model(inputs)
        loss = term.regularised(torch.tensor(1.0), labels)
        assert math.isclose(loss.item(), expected, rel_tol=1e-5)
        loss.backward()

    assert model[0].weight.grad.abs().sum() > 0
    assert not any(module._forward_hooks for module in model)


@pytest.mark.parametrize(
    ("model", "strength"),
    [(None, 1.0), ({"name": "convnet", "channels": [8, 8], "strides": [2, 1]}, 2.0)],
    ids=["mlp", "convnet"],
)
def test_train__the_regulariser_moves_selectivity_in_its_direction(
    digits, tmp_path, model, strength
):
    dataset = load_dataset(digits, "test")
    inputs, labels = dataset.batch(np.arange(len(dataset)))
    selectivities = {}
    for alpha in (-strength, 0.0, strength):
        spec = run_spec(model=model, epochs=4, selectivity_regulariser=alpha)
        network, _ = trained(digits, tmp_path / str(alpha), spec)
        activations = []
        network.relu1.register_forward_hook(
            lambda *args, activations=activations: activations.append(args[2].detach())
        )
        network(inputs)
        selectivities[alpha] = batch_selectivity(activations[0], labels).item()

    assert selectivities[-strength] < selectivities[0.0] - 0.05
    assert selectivities[strength] > selectivities[0.0] + 0.05


def test_train__refuses_a_regulariser_without_units(digits, tmp_path, monkeypatch):
    (tmp_path / "my_linear.py").write_text(
        "from torch import nn\n"
        "def network():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    spec = run_spec(model={"name": "my_linear:network"}, selectivity_regulariser=1.0)
    with pytest.raises(ModelError, match=r"selectivity_regulariser = 1\.0: the network has no"):
        train(spec, digits, tmp_path)
