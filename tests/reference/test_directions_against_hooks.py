"""Ablation of groups, of directions and along bases against naive hooks, in float64."""

import numpy as np
import pytest
import torch
import xarray as xr

import unitlens as ul
from networks_by_hand import NETWORKS, clamp, naive_scores, random_pairs, relative, widths
from unitlens.seeds import derived_seed, seeded
from unitlens.statistics.subspaces.random_directions import random_directions

# Networks whose samples depend on their batch are measured on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::unitlens.errors.RepeatabilityWarning")

SAMPLES = 23
CHOSEN = ["mlp", "convnet", "residual", "untraceable", "batch_dependent"]
WITH_MEANS = ["zero", "mean"]


def setting(name):
    build, shape, places = NETWORKS[name]
    pairs = random_pairs(SAMPLES, *shape)
    model = build()
    layers = [layer.name for layer in ul.unit_layers(model, pairs.inputs)]
    counts = dict(zip(layers, widths(model, pairs, places), strict=True))
    return model, pairs, dict(zip(layers, places, strict=True)), counts


def means_of(model, pairs, places, value):
    """Return each layer's mean activations, or zeros, by one pass of hooks."""
    activations = {}
    for layer, place in places.items():
        naive_scores(model, pairs, {place: lambda a, n=layer: activations.setdefault(n, a.clone())})
    return {
        layer: a.reshape(*a.shape[:2], -1).mean((0, 2)) * (value == "mean")
        for layer, a in activations.items()
    }


def project(directions, values):
    """Return a hook that brings activations to `values` along directions, one at a time."""

    def edit(output):
        for row in directions:
            along = torch.as_tensor(row).reshape(1, -1, *[1] * (output.dim() - 2))
            level = float(torch.as_tensor(row) @ values)
            output = output - ((output * along).sum(1, keepdim=True) - level) * along
        return output

    return edit


def orthonormal(units, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(units, units)))[0]


def assert_equals(table, number, model, pairs, edits):
    base, hits = naive_scores(model, pairs, {})
    loss, hit = naive_scores(model, pairs, edits)
    changes, drops = loss - base, hits - hit
    assert relative(table.loss_increase[number], changes.mean()) < 1e-9
    assert relative(table.loss_increase_se[number], changes.std(ddof=1) / SAMPLES**0.5) < 1e-9
    assert float(table.accuracy_drop[number]) == pytest.approx(drops.mean(), abs=1e-12)
    for label in range(4):
        mine = pairs.labels.numpy() == label
        measured = table.class_loss_increase[number, label]
        assert float(measured) == pytest.approx(changes[mine].mean(), rel=1e-9, abs=1e-12)
        measured = table.class_accuracy_drop[number, label]
        assert float(measured) == pytest.approx(drops[mine].mean(), abs=1e-12)


def groups_of(counts):
    """Return groups within each layer and over all of them, some of them empty."""
    random = np.random.default_rng(5)
    units = [(layer, channel) for layer, n in counts.items() for channel in range(n)]
    groups = {
        f"{layer} {size}": [(layer, int(c)) for c in random.permutation(n)[:size]]
        for layer, n in counts.items()
        for size in (0, 1, 3, n)
    }
    for size in (2, 5):
        groups[f"any {size}"] = [units[u] for u in random.permutation(len(units))[:size]]
    return groups | {"all": units}


@pytest.mark.parametrize("value", WITH_MEANS)
@pytest.mark.parametrize("name", CHOSEN)
def test_group_ablation__equals_hooks(name, value):
    model, pairs, places, counts = setting(name)
    groups, values = groups_of(counts), means_of(model, pairs, places, value)

    table = ul.group_ablation(model, pairs, groups, value=value, batch_size=SAMPLES)

    assert table.group.values.tolist() == list(groups)
    for number, group in enumerate(groups.values()):
        edits = {}
        for layer, place in places.items():
            channels = [c for name, c in group if name == layer]
            edits[place] = clamp(channels, values[layer][channels])
        assert_equals(table, number, model, pairs, edits)
        assert int(table.group_size[number]) == len(group)
        if not group:
            assert float(table.loss_increase[number]) == 0
            assert float(table.loss_increase_se[number]) == 0


@pytest.mark.parametrize("name", CHOSEN)
def test_group_ablation__of_single_units_is_unit_ablation(name):
    model, pairs, _, counts = setting(name)
    total = sum(counts.values())

    measured = ul.group_ablation(
        model, pairs, [[unit] for unit in range(total)], batch_size=SAMPLES
    )
    units = ul.unit_ablation(model, pairs, batch_size=SAMPLES)

    for name in ("loss_increase", "class_loss_increase", "class_accuracy_drop_max"):
        np.testing.assert_allclose(measured[name], units[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", WITH_MEANS)
@pytest.mark.parametrize("name", CHOSEN)
def test_direction_ablation__equals_hooks(name, value):
    model, pairs, places, counts = setting(name)
    values = means_of(model, pairs, places, value)
    random = np.random.default_rng(3)
    rows = {layer: random.normal(size=(4, n)) for layer, n in counts.items()}

    table = ul.direction_ablation(model, pairs, rows, value=value, batch_size=SAMPLES)

    assert table.sizes["direction"] == 4 * len(counts)
    every = [(layer, row / np.linalg.norm(row)) for layer in counts for row in rows[layer]]
    assert table.layer.values.tolist() == [layer for layer, _ in every]
    for number, (layer, row) in enumerate(every):
        edits = {places[layer]: project([row], values[layer])}
        assert_equals(table, number, model, pairs, edits)


@pytest.mark.parametrize("value", WITH_MEANS)
@pytest.mark.parametrize("name", CHOSEN)
def test_direction_ablation__along_units_is_unit_ablation(name, value):
    model, pairs, _, counts = setting(name)
    identity = {layer: 2 * np.eye(n, dtype=int) for layer, n in counts.items()}

    measured = ul.direction_ablation(model, pairs, identity, value=value, batch_size=SAMPLES)
    units = ul.unit_ablation(model, pairs, value=value, batch_size=SAMPLES)

    for name in ("loss_increase", "loss_increase_se", "class_loss_increase", "accuracy_drop"):
        assert relative(measured[name], units[name]) < 1e-9


@pytest.mark.parametrize("name", [name for name in CHOSEN if name != "batch_dependent"])
def test_groups_and_directions__depend_on_neither_batches_nor_memory(name):
    model, pairs, _, counts = setting(name)
    groups, rows = groups_of(counts), {layer: np.ones((1, n)) for layer, n in counts.items()}

    for ablate, what in [(ul.group_ablation, groups), (ul.direction_ablation, rows)]:
        whole = ablate(model, pairs, what, batch_size=SAMPLES)
        pieces = ablate(model, pairs, what, batch_size=5, memory_gb=1e-5)
        xr.testing.assert_allclose(whole, pieces, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CHOSEN if name != "batch_dependent"])
def test_cumulative_ablation__along_a_basis_depends_on_neither_batches_nor_memory(name):
    """A batch of one has fewer positions than a layer has units, which is computed otherwise."""
    model, pairs, _, _ = setting(name)
    options = {"orders": 2, "points": 6, "basis": "random", "value": "mean"}

    whole = ul.cumulative_ablation(model, pairs, batch_size=SAMPLES, **options)
    for size in (1, 5):
        pieces = ul.cumulative_ablation(model, pairs, batch_size=size, memory_gb=1e-5, **options)
        xr.testing.assert_allclose(whole, pieces, rtol=1e-9)


def bases_of(counts, seed):
    """Return the basis named so: rows by layer."""
    layers = enumerate(counts.items())
    if seed == "random":
        depths = [(layer, depth, n) for depth, (layer, n) in layers]
        return {
            layer: random_directions(
                xr.Dataset(coords={
                    "layer": ("unit", [layer] * n), "channel": ("unit", np.arange(n)),
                }),
                seed=derived_seed(1, "basis", depth),
            ).values
            for layer, depth, n in depths
        }  # fmt: skip
    return {layer: orthonormal(n, depth)[: n - depth] for depth, (layer, n) in layers}


@pytest.mark.parametrize("value", WITH_MEANS)
@pytest.mark.parametrize("kind", ["random", "array"])
@pytest.mark.parametrize("name", CHOSEN)
def test_cumulative_ablation__along_a_basis_equals_hooks(name, kind, value):
    """One direction after the other is projected out, which is the same as all at once."""
    model, pairs, places, counts = setting(name)
    values, rows = means_of(model, pairs, places, value), bases_of(counts, kind)

    curve = ul.cumulative_ablation(
        model, pairs, orders=2, points=5, value=value, seed=1, batch_size=SAMPLES,
        basis="random" if kind == "random" else rows,
    )  # fmt: skip

    every = [(layer, number) for layer in counts for number in range(len(rows[layer]))]
    orders = {f"random-{n}": seeded(1, "order", n).permutation(len(every)) for n in range(2)}
    if kind == "array":
        keys = np.array([number for _, number in every])
        orders["basis-ascending"] = np.argsort(keys, kind="stable")
        orders["basis-descending"] = np.argsort(-keys, kind="stable")
    assert curve.order.values.tolist() == list(orders)
    assert curve.attrs["basis"] == kind
    for order, sequence in orders.items():
        for point, ablated in enumerate(curve.ablated_units.values):
            directions = [every[place] for place in sequence[:ablated]]
            edits = {
                place: project(
                    [rows[layer][n] for name, n in directions if name == layer], values[layer]
                )
                for layer, place in places.items()
            }
            loss, hit = naive_scores(model, pairs, edits)
            measured = curve.sel(order=order).isel(ablated=point)
            assert float(measured.loss) == pytest.approx(loss.mean(), rel=1e-9)
            assert float(measured.accuracy) == pytest.approx(hit.mean(), abs=1e-12)


@pytest.mark.parametrize("value", WITH_MEANS)
@pytest.mark.parametrize("name", CHOSEN)
def test_cumulative_ablation__along_units_as_a_basis_is_that_of_units(name, value):
    model, pairs, _, counts = setting(name)
    identity = {layer: np.eye(n) for layer, n in counts.items()}
    options = {"orders": 3, "points": 6, "value": value, "seed": 2, "batch_size": SAMPLES}

    units = ul.cumulative_ablation(model, pairs, **options)
    along = ul.cumulative_ablation(model, pairs, basis=identity, **options)
    whole = ul.cumulative_ablation(model, pairs, basis="random", **options)

    xr.testing.assert_allclose(along.isel(order=slice(3)), units, rtol=1e-9)
    np.testing.assert_allclose(whole.loss[:, -1], units.loss[:, -1], rtol=1e-9)
