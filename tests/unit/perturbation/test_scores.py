"""How outputs are scored: built in, or by a function of the user's."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from networks_by_hand import Pairs, clamp, mlp, naive_logits, random_pairs, relative, untraceable
from unitlens.errors import ArgumentError, DatasetError, ModelError
from unitlens.perturbation.paired_sums import PairedSums
from unitlens.perturbation.scores import make_score
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import unit_coordinates

NAN = float("nan")


def head(outputs, build=mlp):
    model = build()
    torch.manual_seed(1)
    model[-1] = nn.Linear(7, outputs).double()
    return model


class Targets(Pairs):
    """A map-style data set of given inputs and any targets."""

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


def unit_variance(model, pairs):
    layers = ul.unit_layers(model, pairs.inputs[:2])
    where = unit_coordinates((layer.name, layer.depth, layer.units) for layer in layers)
    return xr.DataArray(np.ones(where["layer"].size), where, "unit")


# -- built in


def test_top5__by_hand():
    logits = torch.tensor(
        [
            [0, 1, 2, 3, 4, 5, 6],  # classes 2 to 6
            [0, 0, 0, 0, 0, 0, 0],  # of equal ones the smaller classes: 0 to 4
            [9, 0, 0, 9, 0, 0, 0],  # 0, 3, and then 1, 2, 4
        ],
        dtype=torch.float64,
    )
    score = make_score("top5")

    hits = [score(logits, torch.full((3,), label))[1].tolist() for label in range(7)]

    assert hits == [[0, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 0], [1, 0, 0]]


def test_top5__equals_a_stable_sort_of_each_row():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 6, (500, 12), generator=generator).double()
    labels = torch.randint(0, 12, (500,), generator=generator)

    losses, hits = make_score("top5")(logits, labels)

    for row, label, loss, hit in zip(logits.numpy(), labels.tolist(), losses, hits, strict=True):
        assert hit == (label in np.argsort(-row, kind="stable")[:5])
        assert float(loss) == pytest.approx(np.log(np.exp(row).sum()) - row[label])


def test_top5__takes_nan_for_the_largest_as_the_largest_logit_does():
    row = torch.tensor([[0, NAN, 1, 2, 3, 4, 5, NAN]], dtype=torch.float64)

    top5 = [int(make_score("top5")(row, torch.tensor([label]))[1]) for label in range(8)]

    assert top5 == [0, 1, 0, 0, 1, 1, 1, 1]
    assert int(make_score("top1")(row, torch.tensor([1]))[1]) == 1


def test_score__of_variants_is_that_of_each():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 8, generator=generator)
    labels = torch.randint(0, 8, (5,), generator=generator)
    score = make_score("top5")

    losses, hits = score.of_variants(logits, labels)

    for number in range(3):
        loss, hit = score(logits[number], labels)
        assert torch.equal(losses[number], loss)
        assert torch.equal(hits[number], hit)


def test_unit_ablation__top5_against_a_loop_of_hooks():
    model, pairs = head(12), random_pairs(30, 6, classes=12)

    table = ul.unit_ablation(model, pairs, score="top5")

    def hits(edits):
        order = np.argsort(-naive_logits(model, pairs.inputs, edits).numpy(), 1, kind="stable")
        return (order[:, :5] == pairs.labels.numpy()[:, None]).any(1).astype(float)

    base = hits({})
    drops = [
        (base - hits({(str(layer), 0): clamp([channel], [0.0])})).mean()
        for layer, channel in zip(table.layer.values, table.channel.values, strict=True)
    ]
    np.testing.assert_allclose(table.accuracy_drop, drops, atol=1e-12)
    assert np.any(np.array(drops) != 0)
    assert table.attrs["baseline_accuracy"] == pytest.approx(base.mean())
    assert table.attrs["score"] == "top5"
    plain = ul.unit_ablation(model, pairs)
    xr.testing.assert_equal(table.loss_increase, plain.loss_increase)
    assert plain.attrs["score"] == "top1"


def test_curves_and_noise__are_scored_by_top5():
    model, pairs = head(12), random_pairs(30, 6, classes=12)
    order = np.argsort(-naive_logits(model, pairs.inputs, {}).numpy(), 1, kind="stable")
    expected = (order[:, :5] == pairs.labels.numpy()[:, None]).any(1).mean()

    curve = ul.cumulative_ablation(model, pairs, orders=2, points=3, score="top5")
    noise = ul.noise_robustness(
        model, pairs, [0.0], variance=unit_variance(model, pairs), draws=1, score="top5"
    )

    np.testing.assert_allclose(curve.accuracy[:, 0], expected)
    np.testing.assert_allclose(noise.accuracy, expected)
    assert (curve.attrs["score"], noise.attrs["score"]) == ("top5", "top5")


# -- functions


def squared(output, target):
    loss = (output - target).square().mean(1)
    return loss, loss < 0.5


@pytest.mark.parametrize("build", [mlp, untraceable])
def test_unit_ablation__by_a_function_of_any_targets(build):
    """A regression: no classes, mean squared error, and a hit where it is small."""
    model, pairs = build(), random_pairs(20, 6)
    targets = torch.randn(20, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    table = ul.unit_ablation(model, Targets(pairs.inputs, targets), score=squared, batch_size=7)

    def losses(edits):
        return (naive_logits(model, pairs.inputs.clone(), edits) - targets).square().mean(1).numpy()

    base, places = losses({}), {"act": ("act", 0), "act_1": ("act", 1)}
    for unit in range(table.sizes["unit"]):
        name, channel = str(table.layer.values[unit]), int(table.channel.values[unit])
        loss = losses({places.get(name, (name, 0)): clamp([channel], [0.0])})
        expected = (loss - base).mean()
        assert float(table.loss_increase[unit]) == pytest.approx(expected, rel=1e-9, abs=1e-13)
        drop = (base < 0.5).mean() - (loss < 0.5).mean()
        assert float(table.accuracy_drop[unit]) == pytest.approx(drop, abs=1e-12)
    validate(table, "unit_ablation")
    assert "class" not in table.dims
    assert set(table.data_vars) == {
        "loss_increase", "loss_increase_se", "accuracy_drop", "accuracy_drop_se",
        "accuracy_drop_low", "accuracy_drop_high",
    }  # fmt: skip
    assert table.attrs["score"] == "squared"
    assert table.loss_increase.attrs["units"] == ""


def test_curves_and_noise__by_a_function_of_any_targets():
    model, pairs = mlp(), random_pairs(20, 6)
    data = Targets(pairs.inputs, torch.ones(20, 4, dtype=torch.float64))
    expected = (naive_logits(model, pairs.inputs, {}) - 1).square().mean()

    curve = ul.cumulative_ablation(model, data, orders=2, points=3, score=squared)
    noise = ul.noise_robustness(
        model, data, [0.0, 1.0], variance=unit_variance(model, pairs), draws=2, score=squared
    )

    np.testing.assert_allclose(curve.loss[:, 0], expected)
    np.testing.assert_allclose(noise.loss[:, 0], expected)
    assert curve.loss.attrs["units"] == noise.loss.attrs["units"] == ""


def test_unit_ablation__of_maps_put_out_is_scored_by_a_function():
    """A segmentation network: an image of logits, and an image of labels as target."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1)).double()
    pairs = random_pairs(9, 2, 6, 6)
    target = torch.randint(0, 3, (9, 6, 6), generator=torch.Generator().manual_seed(0))

    def by_pixel(output, target):
        loss = nn.functional.cross_entropy(output, target, reduction="none").mean((1, 2))
        return loss, (output.argmax(1) == target).double().mean((1, 2))

    data = Targets(pairs.inputs, target)
    table = ul.unit_ablation(model, data, score=by_pixel)
    curve = ul.cumulative_ablation(model, data, orders=1, points=3, score=by_pixel)

    base = by_pixel(naive_logits(model, pairs.inputs, {}), target)
    for unit in range(5):
        edits = {("1", 0): clamp([unit], [0.0])}
        loss, hit = by_pixel(naive_logits(model, pairs.inputs, edits), target)
        assert float(table.loss_increase[unit]) == pytest.approx(float((loss - base[0]).mean()))
        assert float(table.accuracy_drop[unit]) == pytest.approx(float((base[1] - hit).mean()))
    assert "class" not in table.dims
    assert curve.accuracy.values[0, 0] == pytest.approx(float(base[1].mean()))


def test_unit_ablation__classes_are_as_many_as_logits_or_labels():
    model, pairs = head(1), random_pairs(30, 6)

    def binary(output, target):
        even = (target % 2).double()
        loss = nn.functional.binary_cross_entropy_with_logits(output[:, 0], even, reduction="none")
        return loss, (output[:, 0] > 0) == (even > 0)

    table = ul.unit_ablation(model, pairs, score=binary, batch_size=1)
    wider = ul.unit_ablation(head(6), pairs, score=lambda out, _: (out[:, 0], out[:, 0] > 0))

    assert table["class"].values.tolist() == [0, 1, 2, 3]
    assert wider.sizes["class"] == 6
    logits = naive_logits(model, pairs.inputs, {})
    changed = naive_logits(model, pairs.inputs, {("6", 0): clamp([2], [0.0])})
    difference = binary(changed, pairs.labels)[0] - binary(logits, pairs.labels)[0]
    by_class = [float(difference[pairs.labels == label].mean()) for label in range(4)]
    own = table.isel(unit=(table.layer == "6") & (table.channel == 2))
    np.testing.assert_allclose(own.class_loss_increase[0], by_class, rtol=1e-9)


class Best(nn.Module):
    """Puts out the class itself, an integer a sample."""

    def __init__(self):
        super().__init__()
        self.network = mlp()

    def forward(self, x):
        return self.network(x).argmax(1)


def test_unit_ablation__of_integers_put_out_is_scored_by_a_function():
    pairs = random_pairs(30, 6)

    def right(output, target):
        return (output != target).double(), output == target

    table = ul.unit_ablation(Best(), pairs, score=right)

    expected = ul.unit_ablation(mlp(), pairs)
    np.testing.assert_allclose(table.loss_increase, expected.accuracy_drop, atol=1e-12)
    np.testing.assert_allclose(table.class_accuracy_drop, expected.class_accuracy_drop, atol=1e-12)


# -- refusals


def no_pair(output, target):
    return [output[:, 0]]


def wide_loss(output, target):
    return output, output[:, 0] > 0


def one_hit(output, target):
    return output[:, 0], (output[:, 0] > 0).double().mean()


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("top3", "score is 'top3', but must be 'top1', 'top5', or a function"),
        (5, "score is 5, but must be 'top1', 'top5', or a function of outputs and targets"),
        ("top5", "score is 'top5', but the model puts out 4 logits, so every label would be a hit"),
        (no_pair, "score function 'no_pair' returned a list, but must return a pair of tensors"),
        (wide_loss, r"'wide_loss' returned losses of shape \(9, 4\) for 9 samples, .* \(9,\)"),
        (one_hit, r"'one_hit' returned hits of shape \(\) for 9 samples, but must return shape"),
    ],
)
def test_score__refuses_what_is_no_score(score, message):
    with pytest.raises(ArgumentError, match=message):
        ul.unit_ablation(mlp(), random_pairs(9, 6), score=score)


def test_score__refuses_targets_and_outputs_that_it_cannot_use():
    inputs = random_pairs(3, 6).inputs

    with pytest.raises(DatasetError, match="must be a tensor or array and an integer label"):
        ul.unit_ablation(mlp(), Targets(inputs, [0.5, 1.5, 2.5]))
    with pytest.raises(ArgumentError, match="has the target -3, but integers are taken as classes"):
        ul.unit_ablation(mlp(), Targets(inputs, [0, -3, 1]), score=lambda o, _: (o[:, 0], o[:, 0]))
    mixed = [(inputs[0], 1), (inputs[1], 1), (inputs[2], 1), (inputs[0], 1.5)]
    with pytest.raises(DatasetError, match=r"targets of torch\.float64 and of torch\.int64"):
        ul.unit_ablation(mlp(), mixed, score=lambda o, _: (o[:, 0], o[:, 0]))
    maps = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)).double()
    with pytest.raises(ModelError, match=r"\(2, 4, 2, 2\), .* give a function as score for other"):
        ul.unit_ablation(maps, random_pairs(9, 2, 2, 2))
    flat = nn.Sequential(nn.ReLU(), nn.Linear(6, 4), nn.Flatten(0)).double()
    with pytest.raises(ModelError, match=r"shape \(8,\) for 2 samples, but must have one row"):
        ul.unit_ablation(flat, random_pairs(9, 6), score=lambda o, _: (o, o))


# -- sums


def sums_of(samples=40, units=3, classes=4):
    rng = np.random.default_rng(0)
    loss = rng.normal(size=(units, samples))
    hits = rng.integers(-1, 2, (units, samples)).astype(float)
    return loss, hits, rng.integers(0, classes, samples)


def added_one_by_one(loss, hits, classes):
    sums = PairedSums(len(loss), int(classes.max()) + 1, torch.device("cpu"))
    labels = torch.as_tensor(classes)
    sums.count(labels)
    for unit in range(len(loss)):
        rows = torch.full((len(labels),), unit)
        sums.add(rows, labels, torch.as_tensor(loss[unit]), torch.as_tensor(hits[unit]))
    return sums


def test_paired_sums__means_and_errors_by_class():
    loss, hits, classes = sums_of()

    importance = added_one_by_one(loss, hits, classes).importance()

    for label in range(4):
        of_class = loss[:, classes == label]
        root = np.sqrt(of_class.shape[1])
        np.testing.assert_allclose(importance["class_loss_increase"][:, label], of_class.mean(1))
        np.testing.assert_allclose(
            importance["class_loss_increase_se"][:, label], of_class.std(1, ddof=1) / root
        )
    drops = np.stack([-hits[:, classes == label].mean(1) for label in range(4)], 1)
    worst = drops.argmax(1)
    np.testing.assert_array_equal(importance["most_damaged_class"], worst)
    np.testing.assert_allclose(importance["class_accuracy_drop_max"], drops.max(1))
    errors = [
        hits[unit, classes == label].std(ddof=1) / np.sqrt((classes == label).sum())
        for unit, label in enumerate(worst)
    ]
    np.testing.assert_allclose(importance["class_accuracy_drop_max_se"], errors)


def test_paired_sums__of_sums_are_those_of_their_parts():
    loss, hits, classes = sums_of()
    expected = added_one_by_one(loss, hits, classes).importance()
    sums = PairedSums(3, 4, torch.device("cpu"))
    sums.count(torch.as_tensor(classes))

    by_class = np.eye(4)[classes]
    for rows in ([2, 0], [1]):
        parts = [np.stack([x[row] @ by_class for row in rows]) for x in
                 (loss, loss**2, hits, hits**2)]  # fmt: skip
        sums.add_sums(torch.tensor(rows), *map(torch.as_tensor, parts))

    for name, array in sums.importance().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-12, err_msg=name)


def test_paired_sums__grow_with_the_classes_that_are_counted():
    loss, hits, classes = sums_of()
    expected = added_one_by_one(loss, hits, classes).importance()
    sums = PairedSums(3, 0, torch.device("cpu"))

    for label in range(4):
        here = classes == label
        labels = torch.as_tensor(classes[here])
        sums.count(labels)
        for unit in range(3):
            parts = torch.as_tensor(loss[unit, here]), torch.as_tensor(hits[unit, here])
            sums.add(torch.full_like(labels, unit), labels, *parts)

    assert sums.classes == 4
    for name, array in sums.importance().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-12, err_msg=name)


def test_paired_sums__worst_class_is_one_that_has_samples():
    sums = PairedSums(1, 3, torch.device("cpu"))
    sums.count(torch.tensor([1, 1]))
    change = torch.tensor([0.5, 1.0], dtype=torch.float64)
    sums.add(torch.tensor([0]), torch.tensor([1]), change[:1], change[1:])

    importance = sums.importance()

    assert importance["most_damaged_class"].tolist() == [1]
    assert importance["class_accuracy_drop_max"].tolist() == [-0.5]
    assert np.isnan(importance["class_accuracy_drop"][:, [0, 2]]).all()
    assert relative(importance["class_accuracy_drop_max_se"], [0.5]) < 1e-12
