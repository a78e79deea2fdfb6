"""Tables of earlier versions get the intervals that a new ablation gives, from what they hold."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.analysis.stored_drops import class_samples, with_intervals

ENDS = ("_low", "_high")


def ablated(*, hidden=12, classes=10, samples=400, **options):
    """Return a table of a network, and the labels that it was scored by."""
    torch.manual_seed(hidden)
    model = nn.Sequential(nn.Linear(20, hidden), nn.ReLU(), nn.Linear(hidden, classes)).eval()
    inputs = torch.randn(samples, 20)
    with torch.no_grad():
        guesses = model(inputs).argmax(1)
    labels = torch.where(torch.rand(samples) < 0.8, guesses, torch.randint(classes, (samples,)))
    return ul.unit_ablation(model, TensorDataset(inputs, labels), **options), labels.numpy()


def earlier(table):
    """Return a table as unitlens 0.8 wrote it."""
    return table.drop_vars([name for name in table if str(name).endswith(ENDS)])


@pytest.mark.parametrize(("hidden", "classes"), [(12, 10), (6, 10), (40, 60), (3, 2)])
@pytest.mark.parametrize("score", ["top1", "top5"])
def test_intervals__of_an_earlier_table_are_those_of_a_new_one(hidden, classes, score):
    if score == "top5" and classes == 2:
        pytest.skip("of two classes there are no five")
    table, labels = ablated(hidden=hidden, classes=classes, score=score)

    found = with_intervals(earlier(table))

    counts = np.bincount(labels, minlength=classes)
    np.testing.assert_array_equal(class_samples(earlier(table)), counts)
    names = [str(name) for name in table if str(name).endswith(ENDS)]
    assert len(names) == 6
    for name in names:
        np.testing.assert_allclose(found[name], table[name], rtol=1e-9, atol=1e-12, err_msg=name)
        assert found[name].dims == table[name].dims
    for name in earlier(table):
        np.testing.assert_array_equal(found[name], table[name])


def test_class_samples__of_a_class_without_samples_are_none():
    table, labels = ablated(samples=30)
    counts = np.bincount(labels, minlength=10)
    assert (counts == 0).any()
    np.testing.assert_array_equal(class_samples(earlier(table)), counts)


def test_class_samples__are_left_open_by_few_units():
    table = earlier(ablated(hidden=30, classes=20)[0]).isel(unit=slice(0, 3))

    assert class_samples(table) is None
    found = with_intervals(table)
    assert "accuracy_drop_low" in found
    assert "class_accuracy_drop_low" not in found


def test_class_samples__are_left_open_by_numbers_that_do_not_fit():
    table = earlier(ablated()[0])
    table["loss_increase"] = 1.01 * table["loss_increase"]
    assert class_samples(table) is None
    assert class_samples(table.drop_dims("class")) is None


def fractional(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="none"), outputs.softmax(1)[:, 0]


@pytest.mark.parametrize("options", [{"rate": 0.5}, {"score": fractional}, {}])
def test_intervals__are_not_added_where_they_do_not_follow(options):
    table = ablated(**options)[0]
    kept = earlier(table) if options else table
    assert with_intervals(kept).identical(kept)
