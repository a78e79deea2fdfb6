"""Tokens and pixels as samples: ablation by the mean over all valid positions."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError, DatasetError, ScoreWarning
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


def changes_by_hand(model, tokens, targets, units):
    """Return the change of the loss and of the hit of each token, where units are clamped."""
    values = []
    with torch.no_grad():
        for clamped in (None, units):
            hidden = model.relu(model.dense(model.embed(tokens).cumsum(1)))
            if clamped is not None:
                hidden[..., clamped] = 0
            logits = model.head(hidden).double()
            loss = cross_entropy(logits.movedim(-1, 1), targets.clamp(0), reduction="none")
            values.append(np.stack([loss, logits.argmax(-1) == targets]))
    return values[1] - values[0]


def mean_and_error_by_hand(changes, chosen):
    """Return the mean of the chosen tokens, and its error by leaving out one item after another."""
    tokens = chosen.sum(1)
    items = np.flatnonzero(tokens)
    sums = np.where(chosen, changes, 0.0).sum(1)
    mean = sums.sum() / tokens.sum()
    deviations = np.array([sums[i] - mean * tokens[i] for i in items])
    n = len(items)
    error = np.sqrt(n / (n - 1) * (deviations**2).sum()) / tokens.sum() if n > 1 else np.nan
    return mean, error


def interval_by_hand(changes, chosen):
    """Return the interval of the drop of the chosen tokens, over their effective number."""
    tokens, items = chosen.sum(1), (chosen.sum(1) > 0).sum()
    mean, error = mean_and_error_by_hand(changes, chosen)
    if np.isnan(error):
        return None
    total, more = tokens.sum(), 1 / tokens.sum()
    share = (changes[chosen] ** 2).mean()
    over_items = error**2 * (items - 1) / items
    effective = (share - mean**2 + more) / (over_items + more * (tokens**2).sum() / total**2)
    n = min(effective, total)
    p, q = ((n * (share + way * mean) / 2 + 1) / (n + 2) for way in (1, -1))
    half = 1.959963985 * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return max(p - q - half, -1), min(p - q + half, 1)


def check_by_class(row, changes, targets):
    """Compare a row of a table with the tokens' changes of loss and hit, (2, items, tokens)."""
    targets = targets.numpy()
    groups = {"": targets >= 0} | {label: targets == label for label in range(CLASSES)}
    for quantity, sign, change in (("loss_increase", 1, 0), ("accuracy_drop", -1, 1)):
        for label, chosen in groups.items():
            mean, error = mean_and_error_by_hand(sign * changes[change], chosen)
            name, at = (quantity, {}) if label == "" else (f"class_{quantity}", {"class": label})
            np.testing.assert_allclose(row[name].sel(at), mean, atol=1e-6)
            np.testing.assert_allclose(row[f"{name}_se"].sel(at), error, atol=1e-6)
            ends = interval_by_hand(sign * changes[change], chosen)
            if change == 1 and ends is not None:
                found = [row[f"{name}_{end}"].sel(at) for end in ("low", "high")]
                np.testing.assert_allclose(found, ends, atol=1e-6)
    drops = row["class_accuracy_drop"].values
    assert row["most_damaged_class"] == drops.argmax()
    assert row["class_accuracy_drop_max"] == drops.max()


@pytest.mark.parametrize("channels_first", [True, False])
def test_importance__by_the_class_of_the_token(channels_first):
    model, (tokens, targets) = Tagger(channels_first=channels_first), tokens_and_targets()
    data, options = TensorDataset(tokens, targets), {"positions": "samples", "batch_size": 4}
    units = ul.unit_ablation(model.eval(), data, first_order=True, **options)
    groups = ul.group_ablation(model, data, {"pair": [("relu", 0), ("relu", 3)], "none": []},
                               **options)  # fmt: skip
    axes = ul.direction_ablation(model, data, {"relu": np.eye(UNITS)}, **options)

    for unit in range(UNITS):
        changes = changes_by_hand(model, tokens, targets, [unit])
        check_by_class(units.isel(unit=unit), changes, targets)
        check_by_class(axes.isel(direction=unit), changes, targets)
    check_by_class(
        groups.sel(group="pair"), changes_by_hand(model, tokens, targets, [0, 3]), targets
    )
    check_by_class(groups.sel(group="none"), np.zeros((2, *targets.shape)), targets)


def test_first_order__of_a_loss_that_is_linear_in_the_units_is_the_loss_increase():
    model, (tokens, targets) = Tagger(channels_first=False).eval(), tokens_and_targets()

    def logit(logits, classes):
        return logits.gather(1, classes[:, None])[:, 0]

    table = ul.unit_ablation(model, TensorDataset(tokens, targets), positions="samples",
                             batch_size=4, score=logit, first_order=True)  # fmt: skip
    for ending in ("", "_se"):
        np.testing.assert_allclose(
            table[f"loss_increase_first_order{ending}"], table[f"loss_increase{ending}"], atol=1e-6
        )
    assert "class_loss_increase" in table


def test_importance__a_class_of_one_item_has_no_error_and_one_without_tokens_no_mean():
    model, (tokens, targets) = Tagger(channels_first=True).eval(), tokens_and_targets()
    targets[targets == 2] = 1
    targets[targets == 3] = 0
    targets[5, 0] = 3
    table = ul.unit_ablation(model, TensorDataset(tokens, targets), positions="samples")

    assert table["class_loss_increase"].sel({"class": 2}).isnull().all()
    assert table["class_loss_increase"].sel({"class": 3}).notnull().all()
    assert table["class_loss_increase_se"].sel({"class": [2, 3]}).isnull().all()


def test_importance__of_tokens_that_are_items_is_that_of_samples():
    model, (tokens, targets) = Tagger(channels_first=False).eval(), tokens_and_targets()
    first = tokens[:, :1]
    whole = ul.unit_ablation(
        model, TensorDataset(first, targets[:, :1]), positions="samples", first_order=True
    )
    plain = ul.unit_ablation(
        model, TensorDataset(first, targets[:, 0]), output=lambda out: out["logits"][:, 0],
        first_order=True,
    )  # fmt: skip
    assert set(whole) == set(plain)
    for name in sorted(plain):
        np.testing.assert_allclose(whole[name], plain[name], atol=1e-9, err_msg=name)


def test_importance__by_class_is_left_out_where_it_does_not_fit_in_memory(caplog):
    model, (tokens, targets) = Tagger(channels_first=False).eval(), tokens_and_targets()
    data, least = TensorDataset(tokens, targets), 8.001 * 20 * UNITS * CLASSES / 1e9
    ablate = {
        memory: ul.unit_ablation(model, data, positions="samples", memory_gb=memory)
        for memory in (least / 2, least)
    }
    few, enough = ablate.values()

    assert "class" not in few.dims
    assert few.attrs["no_class_importance"].startswith(
        "the sums of 6 rows and 4 classes take 3.84e"
    )
    assert "importance by the class of the position is left out" in caplog.text
    assert "no_class_importance" not in enough.attrs
    assert enough["class_loss_increase"].sizes == {"unit": UNITS, "class": CLASSES}
    np.testing.assert_allclose(few["loss_increase"], enough["loss_increase"], atol=1e-12)


def test_probabilities__of_positions_warn():
    model, (tokens, targets) = Tagger(channels_first=True).eval(), tokens_and_targets()
    with pytest.warns(ScoreWarning, match="as after softmax"):
        table = ul.unit_ablation(
            nn.Sequential(model, nn.Softmax(1)), TensorDataset(tokens, targets), positions="samples"
        )
    assert "as after softmax" in table.attrs["doubts"]


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
