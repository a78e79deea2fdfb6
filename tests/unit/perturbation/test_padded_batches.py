"""Texts of different length, padded by a collate function, with labels that are ignored.

The naive reference runs each text alone, without padding.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

import unitlens as ul
from unitlens.errors import ArgumentError

CLASSES, UNITS, PAD = 3, 4, 0
LENGTHS = (5, 2, 7, 3, 1, 6, 4, 2, 5, 3, 7)


class Tagger(nn.Module):
    """Logits of each token, from the token and the mean over the tokens of its text."""

    def __init__(self, *, pooled, traced):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.relu = nn.Embedding(9, UNITS), nn.ReLU()
        self.inner, self.head = nn.Linear(UNITS, UNITS), nn.Linear(UNITS, CLASSES)
        self.pooled, self.traced, self.unit = pooled, traced, None

    def forward(self, input_ids, attention_mask):
        mask = attention_mask[..., None].float()
        embedded = self.embed(input_ids)
        hidden = self.relu(self.inner(embedded))
        if self.unit is not None:
            hidden = hidden * (torch.arange(UNITS) != self.unit)
        if not self.traced and hidden.sum() > 1e9:
            raise AssertionError
        mean = (hidden * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        return {"logits": self.head(mean[:, 0] if self.pooled else hidden + mean)}


def texts(*, pooled, ignored):
    random = torch.Generator().manual_seed(2)
    items = []
    for number, length in enumerate(LENGTHS):
        labels = torch.randint(CLASSES, (length,), generator=random)
        labels[torch.rand(length, generator=random) < 0.3] = ignored
        if number in (0, 6):  # the first text and another are ignored as a whole
            labels[:] = ignored
        label = int(labels[0]) if pooled else labels
        items.append({"ids": torch.randint(1, 9, (length,), generator=random), "tags": label})
    return items


def padded(items, *, ignored):
    ids = pad_sequence([item["ids"] for item in items], batch_first=True, padding_value=PAD)
    tags = [torch.as_tensor(item["tags"]) for item in items]
    together = (
        pad_sequence(tags, batch_first=True, padding_value=ignored)
        if tags[0].dim()
        else torch.stack(tags)
    )
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": together}


def naive(model, items, ignored, unit=None):
    """Return losses, labels and activations of all samples, text by text."""
    losses, labels, activations = [], [], []
    for item in items:
        tags = torch.as_tensor(item["tags"])
        valid = tags != ignored
        if not valid.any():
            continue
        ids = item["ids"][None]
        model.unit = unit
        with torch.no_grad():
            logits = model(ids, torch.ones_like(ids))["logits"][0]
            hidden = torch.relu(model.inner(model.embed(ids)))[0]
        model.unit = None
        loss = cross_entropy(
            logits if tags.dim() else logits[None],
            tags.reshape(-1).long(),
            reduction="none",
            ignore_index=ignored,
        )
        losses += loss[valid.reshape(-1)].tolist()
        labels += tags[valid].reshape(-1).tolist()
        activations += [*hidden[valid].numpy()] if tags.dim() else [hidden.mean(0).numpy()]
    return np.array(losses), np.array(labels), np.array(activations)


def setting(*, pooled, ignored, traced):
    model = Tagger(pooled=pooled, traced=traced).eval()
    options = {"collate_fn": lambda items: padded(items, ignored=ignored)}
    if not pooled:
        options["positions"] = "samples"
    if pooled or ignored != -100:
        options["ignore_index"] = ignored
    return model, texts(pooled=pooled, ignored=ignored), options


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("ignored", [-100, -1, 7])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("batch_size", [2, 11])
def test_ablation__of_padded_texts_without_ignored_labels(pooled, ignored, traced, batch_size):
    model, items, options = setting(pooled=pooled, ignored=ignored, traced=traced)
    table = ul.unit_ablation(model, items, batch_size=batch_size, **options)
    base, *_ = naive(model, items, ignored)
    expected = [naive(model, items, ignored, unit)[0].mean() - base.mean() for unit in range(UNITS)]
    np.testing.assert_allclose(table["loss_increase"], expected, atol=1e-5)
    curve = ul.cumulative_ablation(model, items, orders=1, batch_size=batch_size, **options)
    np.testing.assert_allclose(curve["loss"].isel(ablated=0), base.mean(), atol=1e-5)


@pytest.mark.parametrize("ignored", [-100, -1, 7])
@pytest.mark.parametrize("pooled", [False, True])
def test_recordings__of_padded_texts_without_ignored_labels(tmp_path, pooled, ignored):
    model, items, options = setting(pooled=pooled, ignored=ignored, traced=True)
    for _ in range(2):
        path = ul.record_activations(model, items, tmp_path / "a.zarr", batch_size=3, **options)
    acts = ul.open_activations(path)
    losses, labels, activations = naive(model, items, ignored)
    assert acts["label"].values.tolist() == labels.tolist()
    np.testing.assert_allclose(acts["loss"], losses, atol=1e-5)
    if not pooled:
        np.testing.assert_allclose(acts["relu"].activation, activations, atol=1e-6)
        for place in (0, len(labels) // 2, len(labels) - 1):  # each token is found again
            item, position = int(acts["item"][place]), int(acts["position"][place])
            assert int(items[item]["tags"][position]) == labels[place]
        assert acts["position"].values.max() < max(LENGTHS)
        statistics = ul.network_statistics(model, items, batch_size=4, **options)
        np.testing.assert_allclose(
            statistics["class_mean"].sel({"class": 1}), activations[labels == 1].mean(0), atol=1e-6
        )
    else:
        assert acts.attrs["ignored"] == len(items) - len(labels)


@pytest.mark.parametrize("pooled", [False, True])
def test_noise__of_padded_texts_does_not_depend_on_the_batch(pooled):
    """A text has the same noise at each token, however long the texts beside it are."""
    model, items, options = setting(pooled=pooled, ignored=-100, traced=True)
    more = {"variance": np.ones(UNITS), "draws": 2, **options}

    together, in_pairs = (
        ul.noise_robustness(model, items, [0.5, 2.0], batch_size=size, **more) for size in (11, 2)
    )

    np.testing.assert_allclose(together["loss"], in_pairs["loss"], rtol=1e-5)
    by_unit = ul.noise_robustness(model, items, [0.5, 2.0], per="unit", **more)
    assert np.abs(together["loss"] - by_unit["loss"]).max() > 1e-3


@pytest.mark.parametrize(
    "ablate",
    [
        ul.unit_ablation,
        ul.cumulative_ablation,
        lambda *given, **more: ul.group_ablation(*given, [[0, 1]], **more),
    ],
)
def test_clamping__to_the_mean_of_each_position_is_refused_where_their_number_varies(ablate):
    model, items, options = setting(pooled=True, ignored=-100, traced=True)

    with pytest.raises(ArgumentError, match=r"layer 'relu'.*needs inputs that all give one shape"):
        ablate(model, items, value="position_mean", batch_size=2, **options)
