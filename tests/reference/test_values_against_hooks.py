"""Ablation to every kind of value against naive loops of forward hooks, in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import unitlens as ul
from clamped_by_hand import KINDS, naive_values
from networks_by_hand import NETWORKS, hooked, naive_scores, random_pairs, relative
from unitlens.seeds import seeded

# One of the networks depends on its batch.
pytestmark = pytest.mark.filterwarnings("ignore::unitlens.errors.RepeatabilityWarning")

SAMPLES, REFERENCE = 23, 17
SOME = ["mlp", "convnet", "residual", "untraceable"]


def setting(name, kind, *, own):
    build, shape, places = NETWORKS[name]
    model, pairs = build(), random_pairs(SAMPLES, *shape)
    reference = pairs if own else random_pairs(REFERENCE, *shape, seed=1)
    return model, pairs, reference, naive_values(kind, model, pairs, reference, places, seed=3)


def clamp(channels, values):
    def edit(output):
        output[:, channels] = values[:, channels]
        return output

    return edit


def options(pairs, reference):
    return {"seed": 3, "reference": None if reference is pairs else reference}


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*SOME, "plain_mlp", "batch_dependent"])
def test_unit_ablation__to_each_value_equals_a_loop_of_hooks(name, kind, own):
    model, pairs, reference, values = setting(name, kind, own=own)

    table = ul.unit_ablation(
        model, pairs, value=kind, batch_size=SAMPLES, **options(pairs, reference)
    )

    losses, hits = naive_scores(model, pairs, {})
    rows = []
    for place, of_place in values.items():
        for channel in range(of_place.shape[1]):
            loss, hit = naive_scores(model, pairs, {place: clamp([channel], of_place)})
            rows.append((loss - losses, hits - hit))
    loss, drop = np.array(rows).transpose(1, 0, 2)
    root = np.sqrt(SAMPLES)
    assert relative(table.loss_increase, loss.mean(1)) < 1e-9
    assert relative(table.loss_increase_se, loss.std(1, ddof=1) / root) < 1e-9
    assert relative(table.accuracy_drop, drop.mean(1)) < 1e-9
    for label in range(4):
        mine = drop[:, pairs.labels.numpy() == label]
        assert relative(table.class_accuracy_drop[:, label], mine.mean(1)) < 1e-9


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SOME)
def test_cumulative_ablation__to_each_value_equals_masks_by_hooks(name, kind, own):
    model, pairs, reference, values = setting(name, kind, own=own)

    curve = ul.cumulative_ablation(
        model, pairs, orders=2, points=4, value=kind, batch_size=9, **options(pairs, reference)
    )

    units = [(place, channel) for place, v in values.items() for channel in range(v.shape[1])]
    for number in range(2):
        order = seeded(3, "order", number).permutation(len(units))
        for point, ablated in enumerate(curve.ablated_units.values):
            edits = {}
            for place, of_place in values.items():
                mine = [units[u][1] for u in order[:ablated] if units[u][0] == place]
                edits[place] = clamp(mine, of_place)
            loss, hit = naive_scores(model, pairs, edits)
            assert float(curve.loss[number, point]) == pytest.approx(loss.mean(), rel=1e-9)
            assert float(curve.accuracy[number, point]) == pytest.approx(hit.mean(), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SOME)
def test_first_order__to_each_value_equals_autograd_through_hooks(name, kind):
    model, pairs, reference, values = setting(name, kind, own=False)

    table = ul.unit_ablation(
        model, pairs, value=kind, first_order=True, batch_size=9, **options(pairs, reference)
    )

    changes = []
    for place, of_place in values.items():
        kept = []

        def leaf(output, kept=kept):
            kept.append(output.detach().clone().requires_grad_())
            return kept[-1].clone()

        with hooked(model.eval(), {place: leaf}):
            logits = model(pairs.inputs.clone())
            loss = functional.cross_entropy(logits, pairs.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, kept)
        change = (of_place - kept[0].detach()) * gradient
        changes.append(change.reshape(*change.shape[:2], -1).sum(2).numpy())
    every = np.concatenate(changes, axis=1)
    error = every.std(0, ddof=1) / np.sqrt(SAMPLES)
    assert relative(table.loss_increase_first_order, every.mean(0)) < 1e-9
    assert relative(table.loss_increase_first_order_se, error) < 1e-9
