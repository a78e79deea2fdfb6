"""The intervals of accuracy drops of the tables, against flips that are counted by hand."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.analysis.drop_intervals import drop_interval
from unitlens.perturbation.mean_errors import ratio_and_error
from unitlens.perturbation.position_sums import drops_of_items
from unitlens.perturbation.sampling.sampled_sums import SampledSums

CLASSES, HIDDEN, SAMPLES = 4, 7, 240
NAMES = [f"{name}accuracy_drop_{end}" for name in ("", "class_") for end in ("low", "high")]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)).eval()
    inputs = torch.randn(SAMPLES, 6)
    with torch.no_grad():
        guesses = model(inputs).argmax(1)
    labels = torch.where(torch.rand(SAMPLES) < 0.8, guesses, torch.randint(CLASSES, (SAMPLES,)))
    labels[labels == 3] = 0  # a class without samples
    return model, TensorDataset(inputs, labels)


def hits_without(model, dataset, units):
    """Return which samples are hits where units are clamped to zero."""
    inputs, labels = dataset.tensors
    with torch.no_grad():
        hidden = model[1](model[0](inputs))
        hidden[:, units] = 0
        return (model[2](hidden).argmax(1) == labels).numpy()


def interval(before, after, tail=0.025):
    """Return the interval of Bonett & Price (2012) from two lists of hits."""
    n, lost, gained = len(before), (before & ~after).sum(), (after & ~before).sum()
    p, q = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    half = stats.norm.isf(tail) * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return max(p - q - half, -1), min(p - q + half, 1)


def check_row(row, model, dataset, units):
    """Compare the intervals of a row with those of the hits of a network without units."""
    before, after = hits_without(model, dataset, []), hits_without(model, dataset, units)
    np.testing.assert_allclose([row[name] for name in NAMES[:2]], interval(before, after))
    labels = dataset.tensors[1].numpy()
    lowest = []
    for label in range(3):
        of_class = before[labels == label], after[labels == label]
        found = [row[name].sel({"class": label}) for name in NAMES[2:]]
        np.testing.assert_allclose(found, interval(*of_class))
        lowest.append(interval(*of_class, tail=1 - 0.975 ** (1 / 3))[0])
    assert row["class_accuracy_drop_low"].sel({"class": 3}).isnull()
    np.testing.assert_allclose(row["class_accuracy_drop_max_low"], max(lowest))
    largest = row["class_accuracy_drop_high"].max()
    assert row["class_accuracy_drop_max_high"] == largest


def test_intervals__are_those_of_the_flips(network):
    model, dataset = network
    units = ul.unit_ablation(model, dataset, batch_size=50)
    assert (units["accuracy_drop"] != 0).any()
    for unit in range(HIDDEN):
        check_row(units.isel(unit=unit), model, dataset, [unit])
    axes = ul.direction_ablation(model, dataset, {"1": np.eye(HIDDEN)[:2]})
    check_row(axes.isel(direction=1), model, dataset, [1])
    groups = ul.group_ablation(model, dataset, {"some": [1, 4], "none": []})
    check_row(groups.sel(group="some"), model, dataset, [1, 4])
    check_row(groups.sel(group="none"), model, dataset, [])


def test_intervals__of_ones_own_hits_that_are_0_or_1_are_those_of_top1(network):
    model, dataset = network

    def own(outputs, labels):
        loss = nn.functional.cross_entropy(outputs.double(), labels, reduction="none")
        return loss, outputs.argmax(1) == labels

    plain = ul.unit_ablation(model, dataset)
    for options in ({}, {"rate": 1.0}):
        table = ul.unit_ablation(model, dataset, score=own, **options)
        for name in (*NAMES, "class_accuracy_drop_max_low", "class_accuracy_drop_max_high"):
            np.testing.assert_allclose(table[name], plain[name], atol=1e-12)


def certainty(outputs, labels):
    chosen = outputs.double().softmax(1).gather(1, labels[:, None])[:, 0]
    return -chosen.log(), chosen


def test_intervals__of_hits_between_0_and_1_are_those_of_a_mean(network):
    model, (inputs, labels) = network[0], network[1].tensors
    nothing = nn.Sequential(*[*model[:2], nn.Linear(HIDDEN, CLASSES)]).eval()
    nothing[2].load_state_dict(model[2].state_dict())
    with torch.no_grad():
        nothing[2].weight[:, 2] = 0  # no output depends on unit 2
    table = ul.unit_ablation(nothing, TensorDataset(inputs, labels), score=certainty)

    with torch.no_grad():
        hidden = nothing[1](nothing[0](inputs))
        base = certainty(nothing[2](hidden), labels)[1]
        for unit in (0, 5):
            clamped = hidden.clone()
            clamped[:, unit] = 0
            drops = (base - certainty(nothing[2](clamped), labels)[1]).numpy()
            expected = stats.t.interval(0.95, SAMPLES - 1, drops.mean(), stats.sem(drops))
            found = [float(table[name][unit]) for name in NAMES[:2]]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    assert table["accuracy_drop"][2] == 0
    assert np.isnan([table[name][2] for name in NAMES[:2]]).all()


def test_intervals__of_a_loss_alone_are_none(network):
    table = ul.unit_ablation(*network, score=lambda out, labels: certainty(out, labels)[0])
    assert all(table[name].isnull().all() for name in NAMES)


def draw_pairs(random, rows, samples, lost, gained, rates):
    """Return sums over drawn pairs, with hits lost and gained at these rates."""
    uniform = random.random((rows, samples))
    changes = np.where(uniform < lost, -1.0, np.where(uniform < lost + gained, 1.0, 0.0))
    drawn = np.nonzero(random.random((rows, samples)) < rates)
    sums = SampledSums(rows, 1, torch.device("cpu"))
    sums.count(torch.zeros(samples, dtype=torch.int64))
    row, probability, hits = (torch.as_tensor(a) for a in (drawn[0], rates[drawn], changes[drawn]))
    nothing = torch.zeros(len(row), dtype=torch.float64)
    sums.add_drawn(row, torch.zeros_like(row), probability, nothing, nothing, hits)
    return sums.importance()


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize(
    ("lost", "gained"), [(0, 0), (0.005, 0), (0.02, 0), (0.05, 0), (0.02, 0.02), (0, 0.05)]
)
def test_intervals__of_drawn_pairs_hold_the_drop(lost, gained, varying):
    """A fifth of 1,000 pairs a row, at one rate or at rates that differ by ten and more."""
    random = np.random.default_rng([int(1000 * lost), int(1000 * gained), varying])
    rates = np.full((1500, 1000), 0.2)
    if varying:
        rates = np.clip(0.2 * random.gamma(2, 0.5, rates.shape), 0.04, 1)
    found = draw_pairs(random, 1500, 1000, lost, gained, rates)
    low, high = (found[name] for name in NAMES[:2])
    covered = ((low <= lost - gained) & (lost - gained <= high)).mean()
    assert covered >= 0.91
    assert (high > low).all()


@pytest.mark.parametrize("alike", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("lost", [0.0, 0.01, 0.05])
def test_intervals__of_positions_hold_the_drop(lost, alike):
    """200 items of 1 to 19 positions, whose hits are lost together the more they are alike."""
    random, rows = np.random.default_rng([int(100 * lost), int(100 * alike)]), 1500
    sizes = random.integers(1, 20, (rows, 200))
    shape = (1 - alike) / alike
    chance = random.beta(max(lost, 1e-9) * shape, (1 - lost) * shape, sizes.shape)
    drops = random.binomial(sizes, chance if lost else 0).astype(float)
    weights = np.stack([sizes.sum(1), (sizes**2).sum(1), np.full(rows, 200)]).astype(float)
    sums = np.stack([drops.sum(1), (drops**2).sum(1), (drops * sizes).sum(1)])
    mean, error = ratio_and_error(sums, weights)
    found = drops_of_items(mean, error, drops.sum(1), weights, np.ones(rows, bool))
    low, high = drop_interval(found)
    assert ((low <= lost) & (lost <= high)).mean() >= 0.91
    if not lost:  # as if all positions of an item went together
        effective = weights[0] ** 2 / weights[1]
        np.testing.assert_allclose(found.samples, effective)
