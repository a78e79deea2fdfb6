"""First-order importance against autograd through hooks and against finite differences."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import unitlens as ul
from networks_by_hand import (
    NETWORKS,
    hooked,
    naive_scores,
    preactivated,
    random_pairs,
    relative,
    widths,
)

# One of the networks depends on its batch.
pytestmark = pytest.mark.filterwarnings("ignore::unitlens.errors.RepeatabilityWarning")

SAMPLES = 23


def by_autograd(model, pairs, place, value):
    """Return the first-order change of each sample's loss, one pass a layer, (samples, units)."""
    kept = []

    def leaf(output):
        kept.append(output.detach().clone().requires_grad_())
        return kept[-1].clone()

    model.eval()
    with hooked(model, {place: leaf}):
        loss = functional.cross_entropy(model(pairs.inputs.clone()), pairs.labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, kept)
    change = (value - kept[0].detach()) * gradient
    return change.reshape(*change.shape[:2], -1).sum(2).numpy()


@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_first_order__equals_autograd_through_hooks(name, value):
    build, shape, places = NETWORKS[name]
    model, pairs = build(), random_pairs(SAMPLES, *shape)
    units = sum(widths(model, pairs, places))

    table = ul.unit_ablation(
        model, pairs, value=np.full(units, value), batch_size=SAMPLES, first_order=True
    )

    changes = np.concatenate([by_autograd(model, pairs, p, value) for p in places], 1)
    error = changes.std(0, ddof=1) / np.sqrt(SAMPLES)
    assert relative(table.loss_increase_first_order, changes.mean(0)) < 1e-9
    assert relative(table.loss_increase_first_order_se, error) < 1e-9


@pytest.mark.parametrize("name", NETWORKS)
def test_first_order__equals_finite_differences(name):
    """An ablation of one part in 10^5, to both sides."""
    build, shape, places = NETWORKS[name]
    model, pairs = build(), random_pairs(SAMPLES, *shape)
    small, rows = 1e-5, []

    table = ul.unit_ablation(model, pairs, batch_size=SAMPLES, first_order=True)

    for place, count in zip(places, widths(model, pairs, places), strict=True):
        for channel in range(count):

            def scaled(factor, channel=channel):
                def edit(output):
                    output[:, channel] *= factor
                    return output

                return edit

            less, _ = naive_scores(model, pairs, {place: scaled(1 - small)})
            more, _ = naive_scores(model, pairs, {place: scaled(1 + small)})
            rows.append((less - more).mean() / (2 * small))
    assert relative(table.loss_increase_first_order, rows) < 1e-5


def test_first_order__where_a_result_of_relu_is_dropped():
    model, pairs = preactivated(), random_pairs(SAMPLES, 6)

    table = ul.unit_ablation(model, pairs, first_order=True)

    hidden = model.first(pairs.inputs).relu().detach().requires_grad_()
    inner = functional.gelu(model.second(hidden))
    loss = functional.cross_entropy(model.head(inner + hidden), pairs.labels, reduction="sum")
    gradients = torch.autograd.grad(loss, [hidden, inner])
    changes = [-(a * g).detach().mean(0) for a, g in zip((hidden, inner), gradients, strict=True)]
    assert relative(table.loss_increase_first_order, torch.cat(changes)) < 1e-9


class OverwrittenLater(nn.Module):
    """What follows each nonlinearity writes into its result."""

    def __init__(self, *, traceable):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 4)
        # Its gradient needs what it read, not its result.
        self.act, self.traceable = nn.Hardtanh(), traceable

    def forward(self, x):
        start = self.first(x)
        if not self.traceable and start.sum() < -1e9:
            return self.head(start)
        hidden = self.act(start)
        hidden = hidden.add_(start.detach()).mul_(2.0)
        return self.head(self.act(self.second(hidden)).mul_(hidden))


@pytest.mark.parametrize("traceable", [True, False])
def test_first_order__is_of_the_activation_before_it_is_overwritten(traceable):
    torch.manual_seed(0)
    model, pairs = OverwrittenLater(traceable=traceable).double(), random_pairs(SAMPLES, 6)

    table = ul.unit_ablation(model, pairs, first_order=True)

    places = [("act", 0), ("act", 1)]
    changes = np.concatenate([by_autograd(model, pairs, p, 0.0) for p in places], 1)
    assert ul.unit_layers(model, pairs.inputs).traced is traceable
    assert relative(table.loss_increase_first_order, changes.mean(0)) < 1e-9


def test_first_order__of_resnet18_equals_autograd_through_hooks():
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model = resnet18(num_classes=4).double()
    pairs = random_pairs(3, 3, 33, 33)
    names = ["relu", "layer1.0.relu", "layer3.1.relu_1", "layer4.1.relu_1"]

    table = ul.unit_ablation(model, pairs, layers=names, units=20, seed=3, first_order=True)

    for unit in range(table.sizes["unit"]):
        module, _, call = str(table.layer.values[unit]).partition("_")
        changes = by_autograd(model, pairs, (module, int(call or 0)), 0.0).mean(0)
        expected = changes[int(table.channel.values[unit])]
        measured = float(table.loss_increase_first_order[unit])
        assert measured == pytest.approx(expected, rel=1e-9, abs=1e-13)
