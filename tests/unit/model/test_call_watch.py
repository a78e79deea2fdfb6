"""Networks that run other layers for other samples, as networks that ponder or stop early."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ModelError, RepeatabilityWarning, UnitsWarning

SAMPLES, BATCH = 24, 4


class Ponder(nn.Module):
    """As many steps for a whole batch as its first input of a sample asks for at most."""

    def __init__(self):
        super().__init__()
        self.first, self.step, self.head = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.relu = nn.ReLU()

    def forward(self, x):
        hidden, steps = self.relu(self.first(x)), 0
        while steps < x[:, 0].max():
            hidden, steps = self.relu(self.step(hidden)), steps + 1
        return self.head(hidden)


class Halting(Ponder):
    """As many steps for each sample as it asks for; those of a batch run together."""

    def forward(self, x):
        hidden, steps = self.relu(self.first(x)), 0
        while (goes_on := steps < x[:, 0]).any():
            stepped = self.relu(self.step(hidden))
            hidden, steps = torch.where(goes_on[:, None], stepped, hidden), steps + 1
        return self.head(hidden)


class Branching(Ponder):
    """One of two linear layers for a whole batch, and the same nonlinearity behind it."""

    def forward(self, x):
        hidden = self.relu(self.first(x))
        hidden = self.step(hidden) if x[:, 0].max() > 2 else hidden * 2
        return self.head(torch.relu(hidden))


def network(kind):
    torch.manual_seed(0)
    return kind().eval()


def dataset(depths):
    x = torch.randn(SAMPLES, 3, generator=torch.Generator().manual_seed(1))
    x[:, 0] = torch.tensor(depths, dtype=torch.float32).repeat_interleave(SAMPLES // len(depths))
    return TensorDataset(x, torch.arange(SAMPLES) % 3)


RISING, FALLING = (1, 3, 3), (3, 3, 1)


def told(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, {(one.category, str(one.message).partition(";")[0]) for one in caught}


LACKING = (
    UnitsWarning,
    "the layers of units lack 'relu_2', 'relu_3': it runs for some samples, and not for the first "
    "ones",
)
BY_BATCH = (
    RepeatabilityWarning,
    "what the network runs depends on its batch, and so do its numbers for a sample: results "
    "depend on batch_size",
)
CALLS = {
    "unit_ablation": lambda model, data: ul.unit_ablation(model, data, batch_size=BATCH),
    "cumulative_ablation": lambda model, data: ul.cumulative_ablation(
        model, data, orders=2, batch_size=BATCH
    ),
    "network_statistics": lambda model, data: ul.network_statistics(model, data, batch_size=BATCH),
}


@pytest.mark.parametrize("kind", [Halting, Ponder])
@pytest.mark.parametrize("call", sorted(CALLS))
def test_layers__that_run_for_later_samples_are_told(call, kind):
    result, warned = told(lambda: CALLS[call](network(kind), dataset(RISING)))
    expected = {LACKING, BY_BATCH} if kind is Ponder else {LACKING}
    assert warned == expected
    assert result.attrs["doubts"] == "; ".join(text for _, text in sorted(expected, key=str)[::-1])


def test_layers__that_run_for_later_samples_are_told_by_a_store(tmp_path):
    path, warned = told(
        lambda: ul.record_activations(
            network(Ponder), dataset(RISING), tmp_path / "acts.zarr", batch_size=BATCH
        )
    )
    assert warned == {LACKING, BY_BATCH}
    assert ul.open_activations(path).attrs["doubts"] == f"{LACKING[1]}; {BY_BATCH[1]}"
    (path / "relu/activation/c/0/0").unlink()
    kept = (path / "relu_1/activation/c/0/0").stat().st_ino
    told(lambda: ul.record_activations(network(Ponder), dataset(RISING), path, batch_size=BATCH))
    assert (path / "relu_1/activation/c/0/0").stat().st_ino == kept  # it was resumed
    assert ul.open_activations(path).attrs["doubts"] == f"{LACKING[1]}; {BY_BATCH[1]}"
    assert ul.verify_activations(path).whole


def test_batches__that_decide_for_their_samples_are_told_once():
    mixed = dataset((3, 1) * 12)
    _, warned = told(
        lambda: ul.unit_ablation(network(Ponder), mixed, batch_size=BATCH, layers=["relu"])
    )
    assert warned == {BY_BATCH}


@pytest.mark.parametrize("call", sorted(CALLS))
@pytest.mark.parametrize("depths", [RISING, FALLING])
def test_batches__that_decide_between_linear_layers_are_told(call, depths):
    result, warned = told(lambda: CALLS[call](network(Branching), dataset(depths)))
    assert warned == {BY_BATCH}
    assert result.attrs["doubts"] == BY_BATCH[1]


def test_unit_layers__looks_at_more_than_the_first_samples():
    layers, warned = told(lambda: ul.unit_layers(network(Ponder), dataset(RISING)))
    assert [layer.name for layer in layers] == ["relu", "relu_1"]
    assert set(layers.left_out) == {"relu_2", "relu_3"}
    assert {kind for kind, _ in warned} == {UnitsWarning, RepeatabilityWarning}
    _, warned = told(lambda: ul.unit_layers(network(Ponder), dataset(FALLING)))
    assert warned == {BY_BATCH}


def test_layers__that_do_not_run_for_later_samples_are_refused_or_named():
    model, data = network(Halting), dataset(FALLING)
    with pytest.raises(ModelError, match=r"layer 'relu_2' does not run on every batch.*name the"):
        ul.unit_ablation(model, data, batch_size=BATCH)
    table, warned = told(
        lambda: ul.unit_ablation(model, data, batch_size=BATCH, layers=["relu", "relu_1"])
    )
    assert not warned

    def loss(layer, unit):
        """Return the mean loss, sample by sample, with a unit of a step zero."""
        losses = []
        for x, label in data:
            calls = 0

            def ablate(_, __, output):
                nonlocal calls
                calls += 1
                if calls - 1 != layer:
                    return output
                return output.index_fill(1, torch.tensor([unit]), 0.0)

            handle = model.relu.register_forward_hook(ablate)
            with torch.no_grad():
                losses.append(float(cross_entropy(model(x[None]), label[None])))
            handle.remove()
        return np.mean(losses)

    expected = [loss(layer, unit) - loss(-1, 0) for layer in (0, 1) for unit in range(5)]
    np.testing.assert_allclose(table["loss_increase"], expected, atol=1e-6)


def test_curves__of_layers_that_run_for_some_batches_tell_of_the_batch():
    table, warned = told(lambda: CALLS["cumulative_ablation"](network(Ponder), dataset(FALLING)))
    assert warned == {BY_BATCH}
    assert table.attrs["doubts"] == BY_BATCH[1]
    _, warned = told(lambda: CALLS["cumulative_ablation"](network(Halting), dataset(FALLING)))
    assert not warned
