"""Ablation and noise against naive loops of forward hooks, in float64."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional

import unitlens as ul
from networks_by_hand import (
    NETWORKS,
    Pairs,
    clamp,
    naive_scores,
    preactivated,
    random_pairs,
    relative,
    residual,
    widths,
)
from unitlens.perturbation.normal_numbers import element_normal, standard_normal
from unitlens.variables.unit_index import unit_coordinates

# One of the networks depends on its batch.
pytestmark = pytest.mark.filterwarnings("ignore::unitlens.errors.RepeatabilityWarning")

SAMPLES = 23


def setting(name):
    build, shape, places = NETWORKS[name]
    pairs = random_pairs(SAMPLES, *shape)
    model = build()
    return model, pairs, places, widths(model, pairs, places)


def naive_table(model, pairs, places, counts, value=0.0):
    losses, hits = naive_scores(model, pairs, {})
    rows = []
    for place, count in zip(places, counts, strict=True):
        for channel in range(count):
            loss, hit = naive_scores(model, pairs, {place: clamp([channel], [value])})
            rows.append((loss - losses, hits - hit))
    return np.array(rows).transpose(1, 0, 2)


@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_unit_ablation__equals_a_loop_of_hooks(name, value):
    model, pairs, places, counts = setting(name)

    table = ul.unit_ablation(model, pairs, value=np.full(sum(counts), value), batch_size=SAMPLES)

    loss, drop = naive_table(model, pairs, places, counts, value)
    root = np.sqrt(SAMPLES)
    assert relative(table.loss_increase, loss.mean(1)) < 1e-9
    assert relative(table.loss_increase_se, loss.std(1, ddof=1) / root) < 1e-9
    assert relative(table.accuracy_drop, drop.mean(1)) < 1e-9
    assert relative(table.accuracy_drop_se, drop.std(1, ddof=1) / root) < 1e-9
    for label in range(4):
        mine = drop[:, pairs.labels.numpy() == label]
        error = mine.std(1, ddof=1) / np.sqrt(mine.shape[1])
        assert relative(table.class_accuracy_drop[:, label], mine.mean(1)) < 1e-9
        assert relative(table.class_accuracy_drop_se[:, label], error) < 1e-9


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "batch_dependent"])
def test_unit_ablation__depends_on_neither_batches_nor_memory(name):
    model, pairs, _, _ = setting(name)

    whole = ul.unit_ablation(model, pairs, batch_size=SAMPLES)
    pieces = ul.unit_ablation(model, pairs, batch_size=5, memory_gb=1e-5)

    xr.testing.assert_allclose(whole, pieces, rtol=1e-9, atol=1e-12)


def test_unit_ablation__where_a_result_of_relu_is_dropped():
    """The rectified tensor itself is what is read, so hooks on nothing but weights can tell."""
    model, pairs = preactivated(), random_pairs(SAMPLES, 6)

    table = ul.unit_ablation(model, pairs)

    with torch.no_grad():
        hidden = model.first(pairs.inputs).relu()
        base = functional.cross_entropy(
            model.head(functional.gelu(model.second(hidden)) + hidden), pairs.labels
        )
        for unit in range(8):
            changed = hidden.clone()
            changed[:, unit] = 0
            logits = model.head(functional.gelu(model.second(changed)) + changed)
            expected = float(functional.cross_entropy(logits, pairs.labels) - base)
            assert float(table.loss_increase[unit]) == pytest.approx(expected, rel=1e-9)
    assert list(dict.fromkeys(table.layer.values)) == ["relu_", "gelu"]


@pytest.mark.parametrize("value", ["zero", "mean"])
@pytest.mark.parametrize("name", NETWORKS)
def test_cumulative_ablation__equals_masks_by_hooks(name, value):
    model, pairs, places, counts = setting(name)
    means = {}
    for place in places:
        naive_scores(model, pairs, {place: lambda a, p=place: means.setdefault(p, a.clone())})
    constants = [
        means[place].flatten(2).mean((0, 2)) if means[place].dim() > 2 else means[place].mean(0)
        for place in places
    ]
    values = torch.cat(constants) * (value == "mean")

    curve = ul.cumulative_ablation(
        model, pairs, orders=3, points=5, value=value, seed=1, batch_size=SAMPLES
    )

    units = [
        (place, channel) for place, n in zip(places, counts, strict=True) for channel in range(n)
    ]
    for number in range(3):
        order = order_of(number, len(units))
        for point, ablated in enumerate(curve.ablated_units.values):
            edits = {}
            for place in places:
                mine = [u for u in order[:ablated] if units[u][0] == place]
                edits[place] = clamp([units[u][1] for u in mine], [values[u] for u in mine])
            loss, hit = naive_scores(model, pairs, edits)
            assert float(curve.loss[number, point]) == pytest.approx(loss.mean(), rel=1e-9)
            assert float(curve.accuracy[number, point]) == pytest.approx(hit.mean(), abs=1e-12)


def order_of(number, units, seed=1):
    """Return the documented random order, from the library's own seeds."""
    from unitlens.seeds import seeded

    return seeded(seed, "order", number).permutation(units)


@pytest.mark.parametrize("per", ["element", "unit"])
@pytest.mark.parametrize("batch_size", [SAMPLES, 8])
@pytest.mark.parametrize("name", ["mlp", "convnet", "residual", "untraceable"])
def test_noise_robustness__equals_the_same_noise_by_hooks(name, batch_size, per):
    model, pairs, places, counts = setting(name)
    layers = ul.unit_layers(model, pairs.inputs)
    generator = np.random.default_rng(0)
    variance = xr.DataArray(
        generator.uniform(0, 2, sum(counts)),
        coords=unit_coordinates((layer.name, layer.depth, layer.units) for layer in layers),
        dims="unit",
    )

    noise = ul.noise_robustness(
        model, pairs, [0.0, 0.5, 2.0], variance=variance, draws=2, seed=5, batch_size=batch_size,
        per=per,
    )  # fmt: skip

    deviations = torch.as_tensor(variance.values).sqrt().split(counts)
    for draw in range(2):
        parts = [*standard_normal(5, draw, 0, SAMPLES, sum(counts)).double().split(counts, dim=1)]
        for place, layer in enumerate(layers if per == "element" else ()):
            if len(layer.shape) > 1:  # drawn with the units last
                units, *positions = layer.shape
                drawn = element_normal(5, draw, range(SAMPLES), layer.name, (*positions, units))
                parts[place] = drawn.double().movedim(-1, 1)
        for place, by_unit in enumerate(deviations):
            parts[place] = parts[place] * by_unit.reshape(-1, *[1] * (parts[place].dim() - 2))
        for number, scale in enumerate([0.0, 0.5, 2.0]):
            edits = {
                place: lambda a, n=scale * part: a + n.reshape(*n.shape, *[1] * (a.dim() - n.dim()))
                for place, part in zip(places, parts, strict=True)
            }
            loss, hit = naive_scores(model, pairs, edits)
            assert float(noise.loss[draw, number]) == pytest.approx(loss.mean(), rel=1e-9)
            assert float(noise.accuracy[draw, number]) == pytest.approx(hit.mean(), abs=1e-12)


def test_unit_ablation__of_images_on_a_double_model_takes_float32_inputs():
    model, pairs = residual(), random_pairs(6, 2, 7, 7, dtype=torch.float32)
    doubled = Pairs(pairs.inputs.double(), pairs.labels)

    xr.testing.assert_identical(ul.unit_ablation(model, pairs), ul.unit_ablation(model, doubled))


def test_float32__agrees_with_float64():
    model, pairs = NETWORKS["convnet"][0](), random_pairs(64, 2, 8, 8)
    exact = ul.unit_ablation(model, pairs)

    single = ul.unit_ablation(model.float(), pairs)

    assert relative(single.loss_increase, exact.loss_increase) < 1e-4
