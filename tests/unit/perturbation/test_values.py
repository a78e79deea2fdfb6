"""Values that units are clamped to: numbers by hand, invariances, errors, declarations."""

import subprocess
import sys
from math import exp, log
from typing import get_args

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from clamped_by_hand import KINDS
from networks_by_hand import NETWORKS, Pairs, convnet, mlp, random_pairs
from unitlens.catalogue.values import BASES, VALUES, ClampingValue
from unitlens.config.base import BasisName, ValueName
from unitlens.data.map_style import WholeBatches
from unitlens.errors import ArgumentError
from unitlens.perturbation.session import Settings, open_session
from unitlens.perturbation.values.clamping import MAKERS, clamp_to
from unitlens.perturbation.values.reference_data import partners

SETTINGS = Settings(None, None, 0, 4096, "cpu", 2.0)
SHAPES = {"mlp": (6,), "convnet": (2, 8, 8), "residual": (2, 7, 7), "untraceable": (6,)}


def softplus(x):
    return log(1 + exp(x))


def one_map():
    """One map of two positions, h = relu(x), and two logits (h0, 2 h1)."""
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2, bias=False)
    )
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[3].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    return model.double()


# Maps (1, 3), (5, 0) and (2, 2); logits (1, 6), (5, 0) and (2, 4).
MAPS = torch.tensor([[1.0, 3.0], [5.0, -1.0], [2.0, 2.0]], dtype=torch.float64)
BY_HAND = Pairs(MAPS.reshape(3, 1, 1, 2), [0, 0, 1])
BASE = [softplus(5), softplus(-5), softplus(-2)]


@pytest.mark.parametrize(
    ("value", "losses"),
    [
        # 13 / 6 at both positions: logits (13 / 6, 13 / 3)
        ("mean", [softplus(13 / 6), softplus(13 / 6), softplus(-13 / 6)]),
        # 8 / 3 at one position, 5 / 3 at the other: logits (8 / 3, 10 / 3)
        ("position_mean", [softplus(2 / 3), softplus(2 / 3), softplus(-2 / 3)]),
        # 9 / 4 for the first class, 2 for the second: logits (9 / 4, 9 / 2) and (2, 4)
        ("class_mean", [softplus(9 / 4), softplus(9 / 4), softplus(-2)]),
    ],
)
def test_value__by_hand(value, losses):
    table = ul.unit_ablation(one_map(), BY_HAND, value=value)
    curve = ul.cumulative_ablation(one_map(), BY_HAND, value=value, orders=1)

    assert float(table.loss_increase[0]) == pytest.approx(np.mean(losses) - np.mean(BASE))
    np.testing.assert_allclose(curve.loss[0], [np.mean(BASE), np.mean(losses)])
    assert table.attrs["value"] == curve.attrs["value"] == value


def test_value__position_mean_is_the_mean_where_there_are_no_positions():
    model, pairs, reference = mlp(), random_pairs(9, 6), random_pairs(8, 6, seed=1)

    by_position = ul.unit_ablation(model, pairs, value="position_mean", reference=reference)

    expected = ul.unit_ablation(model, pairs, value="mean", reference=reference)
    xr.testing.assert_identical(by_position, expected.assign_attrs(value="position_mean"))


def test_value__class_mean_over_one_class_is_the_mean():
    model, pairs = convnet(), random_pairs(9, 2, 8, 8)
    reference = Pairs(random_pairs(8, 2, 8, 8, seed=1).inputs, [2] * 8)
    pairs.labels[:] = 2

    by_class = ul.unit_ablation(model, pairs, value="class_mean", reference=reference)

    expected = ul.unit_ablation(model, pairs, value="mean", reference=reference)
    np.testing.assert_allclose(by_class.loss_increase, expected.loss_increase, rtol=1e-9)


def first_is_class(output, target):
    """A score that knows labels that no logit stands for."""
    return output[:, 0] * target, (output[:, 0] > 0).double()


def test_value__class_mean_takes_any_integers_of_a_score_of_your_own():
    model, pairs = mlp(), random_pairs(9, 6)
    far = Pairs(pairs.inputs, pairs.labels * 1000)

    near = ul.unit_ablation(model, pairs, value="class_mean", score=first_is_class)
    table = ul.unit_ablation(model, far, value="class_mean", score=first_is_class)

    np.testing.assert_allclose(table.loss_increase, 1000 * near.loss_increase, 1e-9, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHAPES)
def test_value__depends_on_neither_batches_nor_memory(name, kind):
    model, pairs = NETWORKS[name][0](), random_pairs(23, *SHAPES[name])
    options = {"value": kind, "reference": random_pairs(21, *SHAPES[name], seed=1)}

    for measure, more in (
        (ul.unit_ablation, {"first_order": True}),
        (ul.cumulative_ablation, {"orders": 2, "points": 4}),
    ):
        whole = measure(model, pairs, batch_size=23, **options, **more)
        pieces = measure(model, pairs, batch_size=5, memory_gb=1e-5, **options, **more)
        xr.testing.assert_allclose(whole, pieces, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHAPES)
def test_value__leaves_model_and_data_as_they_were(name, kind):
    model, pairs = NETWORKS[name][0]().train(), random_pairs(9, *SHAPES[name])
    reference = random_pairs(21, *SHAPES[name], seed=1)
    tensors = [*model.state_dict().values(), *vars(pairs).values(), *vars(reference).values()]
    before = [tensor.clone() for tensor in tensors]

    ul.unit_ablation(model, pairs, value=kind, reference=reference, first_order=True)
    ul.cumulative_ablation(model, pairs, value=kind, reference=reference, orders=1, points=3)

    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(map(torch.equal, tensors, before))


@pytest.mark.parametrize("kind", KINDS)
def test_value__of_a_constant_unit_changes_nothing(kind):
    """The activation is 2 everywhere, and the mean of 2 has no rounding."""
    model, pairs = one_map(), random_pairs(8, 1, 1, 2, classes=2)
    with torch.no_grad():
        model[0].weight.zero_()
    model[0].bias = nn.Parameter(torch.full((1,), 2.0 * (kind != "zero"), dtype=torch.float64))

    table = ul.unit_ablation(model, pairs, value=kind)

    assert float(table.loss_increase[0]) == 0.0


def test_value__resample_is_reproducible_and_depends_on_the_seed():
    model, pairs = convnet(), random_pairs(23, 2, 8, 8)

    one, again, other = (
        ul.unit_ablation(model, pairs, value="resample", seed=seed) for seed in (1, 1, 2)
    )

    xr.testing.assert_identical(one, again)
    assert not np.allclose(one.loss_increase, other.loss_increase)


def first_logit(output, _):
    return output[:, 0], output[:, 0] > 0


def test_value__resample_of_a_subset_has_the_partners_of_the_whole():
    """The loss is linear in the last layer: its change is that of a unit times the weight."""
    model, pairs = mlp(), random_pairs(20, 6)
    options = {"value": "resample", "layers": ["6"], "score": first_logit}

    whole = ul.unit_ablation(model, pairs, **options)
    some = ul.unit_ablation(model, pairs, samples=19, **options)

    with torch.no_grad():
        hidden = model.eval()[:-1](pairs.inputs).numpy()
    partner_of = partners(np.arange(20), 20, 0, same=True)
    losses = (hidden[partner_of] - hidden) * model[-1].weight[0].detach().numpy()
    np.testing.assert_allclose(whole.loss_increase, losses.mean(0), rtol=1e-9, atol=1e-12)
    left_out = 20 * whole.loss_increase.values - 19 * some.loss_increase.values
    assert np.abs(losses - left_out).max(1).min() < 1e-9  # of one sample


@pytest.mark.parametrize("samples", [2, 3, 10, 101])
@pytest.mark.parametrize("seed", range(3))
def test_partners__are_a_permutation_in_one_cycle(samples, seed):
    every = partners(np.arange(samples), samples, seed, same=True)

    assert sorted(every) == list(range(samples))
    place, cycle = 0, []
    for _ in range(samples):
        cycle.append(place)
        place = every[place]
    assert sorted(cycle) == list(range(samples))
    assert place == 0
    some = np.arange(0, samples, 2)
    np.testing.assert_array_equal(partners(some, samples, seed, same=True), every[some])


def test_partners__are_uniform_over_the_other_samples():
    drawn = [partners(np.array([2]), 5, seed, same=True)[0] for seed in range(4000)]
    counts = np.bincount(drawn, minlength=5)

    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3, 4]] - 1000).max() < 4 * np.sqrt(4000 * 0.25 * 0.75)


def test_partners__of_another_reference_are_taken_equally_often():
    for scored, samples in ((7, 3), (3, 7), (12, 4)):
        counts = np.bincount(partners(np.arange(scored), samples, 0, same=False), minlength=samples)
        assert counts.sum() == scored
        assert set(counts) <= {scored // samples, -(-scored // samples)}


def test_value__resample_from_an_equal_but_other_reference_may_be_the_sample_itself():
    model, pairs = mlp(), random_pairs(1, 6)
    copy = Pairs(pairs.inputs, pairs.labels)

    table = ul.unit_ablation(model, pairs, value="resample", reference=copy)

    assert (table.loss_increase == 0).all()


class AnySize:
    """Images of two sizes, each by itself."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.full((1, 2 + index, 3), 1.0), index


def any_size():
    return nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )


def regression(output, target):
    return (output[:, 0] - target) ** 2, target


NO_CLASSES = [(torch.randn(6), 0.5) for _ in range(4)]


@pytest.mark.parametrize("measure", [ul.unit_ablation, ul.cumulative_ablation])
@pytest.mark.parametrize(
    ("model", "data", "options", "message"),
    [
        (
            mlp(),
            random_pairs(9, 6),
            {"value": "median"},
            "value is 'median', but must be 'zero', 'mean', 'position_mean', 'class_mean', "
            "'resample' or an array of one value a unit",
        ),
        *[
            (
                mlp(),
                random_pairs(9, 6),
                {"value": kind, "reference": Pairs(torch.zeros(0, 6), [])},
                "reference is empty, but must have at least one sample",
            )
            for kind in KINDS[1:]
        ],
        (
            mlp(),
            Pairs(torch.randn(2, 6), [1, 3]),
            {"value": "class_mean", "reference": Pairs(torch.randn(2, 6), [1, 2])},
            "reference has no sample of the label 3, but value 'class_mean' needs one of every",
        ),
        (
            mlp().float(),
            NO_CLASSES,
            {"value": "class_mean", "score": regression},
            "value is 'class_mean', but the targets are no classes: give integer labels",
        ),
        (
            mlp(),
            random_pairs(9, 6),
            {"value": "class_mean", "score": first_is_class, "reference": NO_CLASSES},
            r"reference has targets of torch.float64 and shape \(\), but value 'class_mean' needs",
        ),
        (
            mlp(),
            random_pairs(1, 6),
            {"value": "resample"},
            "the data set has one sample, but value 'resample' needs another one; give a refer",
        ),
        (
            any_size(),
            [(torch.zeros(1, 2, 3), 0)] * 2,
            {"value": "position_mean", "reference": AnySize(), "batch_size": 1},
            r"layer '1' has activations of shape \(2, 2, 3\) and of \(2, 3, 3\), but value 'positi",
        ),
        (
            any_size(),
            [(torch.zeros(1, 2, 3), 0)] * 2,
            {"value": "resample", "reference": [(torch.zeros(1, 3, 3), 0)]},
            r"layer '1' has activations of shape \(2, 3, 3\) and of \(2, 2, 3\), but value 'resamp",
        ),
    ],
)
def test_value__refuses_what_does_not_suit_it(measure, model, data, options, message):
    with pytest.raises(ArgumentError, match=message):
        measure(model, data, **options)


def test_values__are_declared_and_made_under_the_same_names():
    assert tuple(MAKERS) == tuple(VALUES) == get_args(ValueName)
    assert tuple(BASES) == get_args(BasisName)
    assert list(VALUES) == KINDS


@pytest.mark.parametrize("name", VALUES)
def test_values__cost_as_many_passes_as_declared(name):
    """Where stored means are at hand, passes over inputs are those of the ablation and no more."""
    model, pairs, reference = mlp(), random_pairs(9, 6), random_pairs(20, 6, seed=1)
    seen = []
    model[0].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    stored = np.linspace(0, 1, 16)  # means that a workflow has at hand
    value = stored if VALUES[name].source == "unit means" else name

    def samples_run(value):
        seen.clear()
        ul.unit_ablation(model, pairs, value=value, reference=reference)
        return sum(seen)

    extra = samples_run(value) - samples_run("zero")
    assert extra == VALUES[name].extra_samples(scored=len(pairs), reference=len(reference))


@pytest.mark.parametrize("name", VALUES)
def test_values__are_constant_where_declared(name):
    with open_session(convnet(), random_pairs(9, 2, 8, 8), SETTINGS, "units") as session:
        clamping = clamp_to(session, name, None)

    assert (clamping.constants is not None) == VALUES[name].constant


def one_half(session, _):
    """The recipe: a function that returns the replacement, here the number 1/2."""
    return clamp_to(session, np.full(session.units, 0.5), None)


def test_recipe__a_declaration_and_a_function_make_a_value(monkeypatch):
    """Ablations, the label of pictures, costs and directions follow from the two."""
    model, pairs = mlp(), random_pairs(9, 6)
    half = ClampingValue("one half", "1/2 for every sample", "nothing", constant=True)
    monkeypatch.setitem(VALUES, "half", half)
    monkeypatch.setitem(MAKERS, "half", one_half)

    tables = [
        ul.unit_ablation(model, pairs, value="half"),
        ul.group_ablation(model, pairs, [[0, 3]], value="half"),
        ul.cumulative_ablation(model, pairs, value="half", orders=2, points=3),
    ]

    numbers = np.full(16, 0.5)
    expected = [
        ul.unit_ablation(model, pairs, value=numbers),
        ul.group_ablation(model, pairs, [[0, 3]], value=numbers),
        ul.cumulative_ablation(model, pairs, value=numbers, orders=2, points=3),
    ]
    for table, other in zip(tables, expected, strict=True):
        xr.testing.assert_identical(table, other.assign_attrs(value="half"))
    along = ul.direction_ablation(model, pairs, {"2": np.eye(9)}, value="half")
    np.testing.assert_allclose(along.loss_increase, tables[0].loss_increase[:9], 1e-9, 1e-12)


def test_recipe__the_configuration_and_the_figures_know_a_declared_value():
    code = (
        "from unitlens.catalogue.values import VALUES, ClampingValue\n"
        "VALUES['half'] = ClampingValue('one half', '1/2 for every sample', 'nothing')\n"
        "from unitlens.config.perturbation import CumulativeAblationSpec, UnitAblationSpec\n"
        "print(UnitAblationSpec(value='half').value)\n"
        "print(CumulativeAblationSpec(also=[{'value': 'half'}]).variants[1])\n"
        "from unitlens.figures.ablation_variants import NAMES\n"
        "print(NAMES['half'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["half", "('half', 'units')", "one half"]


def test_value__resample_counts_what_it_keeps_as_memory():
    """Batches are smaller, since the activations of the partners are held with them."""
    model, pairs, sizes = convnet(), random_pairs(64, 2, 8, 8), []

    class Noting(Pairs, WholeBatches):
        def batch(self, indices):
            sizes.append(len(indices))
            return self.inputs[indices], self.labels[indices]

    data, largest = Noting(pairs.inputs, pairs.labels), {}
    for value in ("zero", "resample"):
        sizes.clear()
        ul.unit_ablation(model, data, value=value, memory_gb=4e-4)
        largest[value] = max(sizes[1:])

    assert 1 < largest["resample"] < largest["zero"] < 64
