"""Tokens and pixels as samples: ablation by the mean over all valid positions."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError, DatasetError
from unitlens.model.outputs import classes_last

UNITS, CLASSES, LENGTH = 6, 4, 7


class Tagger(nn.Module):
    """A class for each token, from an embedding, its running mean, and a hidden layer."""

    def __init__(self, *, channels_first):
        super().__init__()
        torch.manual_seed(4)
        self.embed, self.dense = nn.Embedding(9, 5), nn.Linear(5, UNITS)
        self.relu, self.head = nn.ReLU(), nn.Linear(UNITS, CLASSES)
        self.channels_first, self.clamped = channels_first, None

    def forward(self, tokens):
        embedded = self.embed(tokens).cumsum(1)
        hidden = self.relu(self.dense(embedded))
        if self.clamped is not None:
            hidden = hidden * (torch.arange(UNITS) != self.clamped)
        logits = self.head(hidden)
        return (
            logits.movedim(-1, 1) if self.channels_first else {"logits": logits, "hidden": hidden}
        )


def tokens_and_targets(ignored=-100):
    random = torch.Generator().manual_seed(1)
    tokens = torch.randint(9, (11, LENGTH), generator=random)
    targets = torch.randint(CLASSES, (11, LENGTH), generator=random)
    lengths = torch.randint(1, LENGTH + 1, (11, 1), generator=random)
    return tokens, torch.where(torch.arange(LENGTH) < lengths, targets, ignored)


def by_hand(model, tokens, targets, ignored=-100):
    """Return the mean loss and accuracy over valid tokens: of the network, and of each ablation."""
    rows = []
    with torch.no_grad():
        for unit in (None, *range(UNITS)):
            model.clamped = unit
            out = model(tokens)
            logits = out.movedim(1, -1) if model.channels_first else out["logits"]
            valid = targets != ignored
            loss = cross_entropy(logits[valid], targets[valid])
            rows.append((float(loss), float((logits.argmax(-1) == targets)[valid].double().mean())))
    model.clamped = None
    return np.array(rows)


@pytest.mark.parametrize("ignored", [-100, 255])
@pytest.mark.parametrize("channels_first", [True, False])
def test_unit_ablation__by_the_mean_over_tokens(channels_first, ignored):
    model, (tokens, targets) = Tagger(channels_first=channels_first), tokens_and_targets(ignored)
    table = ul.unit_ablation(
        model.eval(), TensorDataset(tokens, targets), positions="samples", batch_size=4,
        ignore_index=None if ignored == -100 else ignored, first_order=True,
    )  # fmt: skip

    expected = by_hand(model, tokens, targets, ignored)
    np.testing.assert_allclose(table.attrs["baseline_loss"], expected[0, 0], atol=1e-6)
    np.testing.assert_allclose(table.attrs["baseline_accuracy"], expected[0, 1], atol=1e-6)
    np.testing.assert_allclose(table["loss_increase"], expected[1:, 0] - expected[0, 0], atol=1e-6)
    np.testing.assert_allclose(table["accuracy_drop"], expected[0, 1] - expected[1:, 1], atol=1e-6)
    assert table["loss_increase"].attrs["units"] == "nats"
    assert table.attrs["positions"] == "samples"


def test_curves__and_scores_of_ones_own_are_means_over_tokens():
    model, (tokens, targets) = Tagger(channels_first=True).eval(), tokens_and_targets()
    data = TensorDataset(tokens, targets)

    def doubled(logits, classes):
        assert logits.shape == (len(classes), CLASSES)
        return 2 * cross_entropy(logits, classes, reduction="none")

    plain = ul.cumulative_ablation(model, data, orders=1, points=3, positions="samples")
    twice = ul.cumulative_ablation(
        model, data, orders=1, points=3, positions="samples", score=doubled
    )
    np.testing.assert_allclose(plain["loss"].values[0, 0], by_hand(model, tokens, targets)[0, 0])
    np.testing.assert_allclose(twice["loss"], 2 * plain["loss"], atol=1e-12)


def test_misfits__are_one_line():
    model, (tokens, targets) = Tagger(channels_first=True).eval(), tokens_and_targets()

    def ablate(targets, **options):
        return ul.unit_ablation(model, TensorDataset(tokens, targets), **options)

    with pytest.raises(ArgumentError, match="positions is 'all', but must be 'samples'"):
        ablate(targets, positions="all")
    with pytest.raises(DatasetError, match=r"shape \(\) an item, but positions='samples' needs"):
        ablate(targets[:, 0], positions="samples")
    with pytest.raises(DatasetError, match="all targets are -100, so no position is a sample"):
        ablate(torch.full_like(targets, -100), positions="samples")
    with pytest.raises(ArgumentError, match=r"target 255, .* set ignore_index=255"):
        ablate(torch.where(targets < 0, 255, targets), positions="samples")
    with pytest.raises(
        ArgumentError, match=r"\(3, 4, 7\) and the targets \(3, 6\)|\(\d+, 4, 7\) and"
    ):
        ablate(targets[:, :6], positions="samples")
    with pytest.raises(DatasetError, match=r"positions='samples' for one class a position"):
        ablate(targets)
    with pytest.raises(ArgumentError, match="axis 1 or on the last axis"):
        classes_last(torch.zeros(2, 4, 4), torch.zeros(2, 4))
