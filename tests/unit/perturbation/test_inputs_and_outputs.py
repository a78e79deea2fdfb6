"""Inputs of several tensors, outputs that are no tensors, and scores of their own: naive loops."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError, ModelError

SAMPLES, UNITS = 12, 5


def seeded_tensors(*shapes):
    random = torch.Generator().manual_seed(3)
    return [torch.randn(*shape, generator=random) for shape in shapes]


X, Y = seeded_tensors((SAMPLES, 4), (SAMPLES, 3))
LABELS = torch.arange(SAMPLES) % 3


class Joint(nn.Module):
    """Two inputs, a hidden layer of ReLUs, and logits."""

    def __init__(self, *, traceable=True):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(4, UNITS), nn.Linear(3, UNITS)
        self.relu, self.head = nn.ReLU(), nn.Linear(UNITS, 3)
        self.traceable, self.unit = traceable, None

    def joined(self, x, y):
        hidden = self.relu(self.first(x) + self.second(y))
        if not self.traceable and hidden.sum() > 1e9:  # the tracer cannot decide this
            hidden = hidden + 1
        if self.unit is not None:
            hidden = hidden * (torch.arange(UNITS) != self.unit)
        return self.head(hidden), hidden


class Positional(Joint):
    def forward(self, x, y):
        return self.joined(x, y)[0]


class Keyword(Joint):
    def forward(self, x, *, y=None, scale=1.0):
        return self.joined(x, y)[0] * scale


class OneTuple(Joint):
    def forward(self, pair):
        return self.joined(pair[0], pair[1])[0]


class OneDictionary(Joint):
    def forward(self, batch):
        return self.joined(batch["x"], batch["y"])[0]


class FeaturesFirst(Joint):
    """Puts out features, of fewer columns than classes, and logits."""

    def forward(self, x, y):
        logits, hidden = self.joined(x, y)
        return hidden[:, :2], logits


class Ambiguous(Joint):
    def forward(self, x, y):
        logits, hidden = self.joined(x, y)
        return {"hidden": hidden, "scores": logits}


class Reconstruction(Joint):
    """Puts out a reconstruction and integers beside: a container without logits."""

    def forward(self, x, y):
        logits, hidden = self.joined(x, y)
        return {"parts": (logits, hidden), "largest": logits.argmax(1), "loss": logits.sum()}


def pairs(form):
    inputs = (X, Y) if form is tuple else {"x": X, "y": Y}
    rows = [
        tuple(t[i] for t in inputs) if form is tuple else {k: t[i] for k, t in inputs.items()}
        for i in range(SAMPLES)
    ]
    return list(zip(rows, LABELS.tolist(), strict=True))


def naive(model, loss, call):
    """Return the loss increase of each unit, from plain calls of the model."""
    losses = []
    with torch.no_grad():
        for unit in (None, *range(UNITS)):
            model.unit = unit
            losses.append(float(loss(call(model))))
    model.unit = None
    return np.array(losses[1:]) - losses[0]


def positional(model):
    return model(X, Y)


CALLS = {
    Positional: (tuple, positional),
    Keyword: (dict, lambda model: model(X, y=Y)),
    OneTuple: (tuple, lambda model: model((X, Y))),
    OneDictionary: (dict, lambda model: model({"x": X, "y": Y})),
}


@pytest.mark.parametrize("traceable", [True, False])
@pytest.mark.parametrize("kind", sorted(CALLS, key=lambda kind: kind.__name__))
def test_inputs__of_several_tensors_are_the_arguments_of_forward(kind, traceable, tmp_path):
    form, call = CALLS[kind]
    model, dataset = kind(traceable=traceable).eval(), pairs(form)
    table = ul.unit_ablation(model, dataset, batch_size=5)

    expected = naive(model, lambda logits: cross_entropy(logits, LABELS), call)
    np.testing.assert_allclose(table["loss_increase"], expected, atol=1e-6)
    path = ul.record_activations(model, dataset, tmp_path / "a.zarr", batch_size=5)
    activations = ul.open_activations(path)
    with torch.no_grad():
        hidden = model.joined(X, Y)[1]
    np.testing.assert_allclose(activations["relu"].activation, hidden, atol=1e-6)
    assert ul.unit_layers(model, dataset_inputs(form))[0].units == UNITS


def dataset_inputs(form):
    return (X, Y) if form is tuple else {"x": X, "y": Y}


def test_inputs__serve_every_perturbation_and_value():
    model, dataset = Positional().eval(), pairs(tuple)
    curves = ul.cumulative_ablation(model, dataset, orders=1, points=UNITS + 1, value="resample")
    groups = ul.group_ablation(
        model, dataset, {"all": range(UNITS)}, value="mean", reference=dataset
    )
    noise = ul.noise_robustness(model, dataset, scales=[0.0], variance=np.ones(UNITS), draws=1)

    with torch.no_grad():
        base = float(cross_entropy(model(X, Y), LABELS))
        constant = model.head(model.joined(X, Y)[1].mean(0)).expand(SAMPLES, -1)
    expected = float(cross_entropy(constant, LABELS)) - base
    np.testing.assert_allclose(groups["loss_increase"], [expected], atol=1e-6)
    np.testing.assert_allclose(noise["loss"].values.ravel(), base, atol=1e-6)
    np.testing.assert_allclose(curves["loss"].isel(ablated=0), base, atol=1e-6)


def test_inputs__that_forward_does_not_take_are_one_line():
    with pytest.raises(ModelError, match="has the keys a, b, but forward of Positional takes x, y"):
        ul.unit_layers(Positional(), {"a": X, "b": Y})
    with pytest.raises(ModelError, match="has 3 tensors, but forward of Positional takes x, y"):
        ul.unit_layers(Positional(), (X, Y, Y))
    with pytest.raises(ArgumentError, match=r"\(12, 4\), \(2, 3\).* samples on axis 0"):
        ul.unit_layers(Positional(), (X, Y[:2]))


@pytest.mark.parametrize(
    "output", [None, 1, -1, lambda out: out[1]], ids=["none", "1", "-1", "function"]
)
def test_output__the_only_tensor_that_fits_or_the_chosen_one(output):
    model = FeaturesFirst().eval()
    table = ul.unit_ablation(model, pairs(tuple), output=output)

    expected = naive(model, lambda out: cross_entropy(out[1], LABELS), positional)
    np.testing.assert_allclose(table["loss_increase"], expected, atol=1e-6)


def test_output__is_asked_for_where_several_tensors_fit(tmp_path):
    model, dataset = Ambiguous().eval(), pairs(tuple)
    for call in (ul.unit_ablation, ul.network_statistics):
        with pytest.raises(
            ModelError, match=r"'hidden' of shape \(\d, 5\), 'scores' .*output='hidden'"
        ):
            call(model, dataset)
    table = ul.unit_ablation(model, dataset, output="scores")
    path = ul.record_activations(model, dataset, tmp_path / "a.zarr", output="scores")

    expected = naive(model, lambda out: cross_entropy(out["scores"], LABELS), positional)
    np.testing.assert_allclose(table["loss_increase"], expected, atol=1e-6)
    assert table.attrs["output"] == "scores"
    activations = ul.open_activations(path)
    assert activations.attrs["output"] == "scores"
    with torch.no_grad():
        predicted = model(X, Y)["scores"].argmax(1)
    assert activations["prediction"].values.tolist() == predicted.tolist()
    ul.repair_activations(model, dataset, path, output="scores")


def test_output__that_is_not_there_is_one_line():
    with pytest.raises(ModelError, match=r"output is 'logit', but .* 'hidden', 'scores'; name one"):
        ul.unit_ablation(Ambiguous(), pairs(tuple), output="logit")
    with pytest.raises(ModelError, match=r"the function output=<lambda> cannot read .*KeyError"):
        ul.unit_ablation(Ambiguous(), pairs(tuple), output=lambda out: out["logit"])
    with pytest.raises(ArgumentError, match=r"output is 1.5, but must be a key"):
        ul.unit_ablation(Ambiguous(), pairs(tuple), output=1.5)


def whole_loss(out, targets):
    logits, hidden = out["parts"]
    assert out["largest"].dtype == torch.int64
    return cross_entropy(logits, targets, reduction="none") + hidden.pow(2).sum(1)


@pytest.mark.parametrize("traceable", [True, False])
def test_score__gets_the_whole_output_and_may_return_a_loss_alone(traceable):
    model = Reconstruction(traceable=traceable).eval()
    table = ul.unit_ablation(model, pairs(tuple), score=whole_loss, batch_size=5)

    expected = naive(model, lambda out: whole_loss(out, LABELS).mean(), positional)
    np.testing.assert_allclose(table["loss_increase"], expected, atol=1e-5)
    assert np.isnan(table["accuracy_drop"]).all()
    assert np.isnan(table.attrs["baseline_accuracy"])


def test_score__of_the_logits_still_gets_them_where_it_cannot_take_the_container():
    def of_logits(logits, targets):
        return cross_entropy(logits, targets, reduction="none"), logits.argmax(1) == targets

    class Named(Joint):
        def forward(self, x, y):
            logits, hidden = self.joined(x, y)
            return {"out": logits, "hidden": hidden}

    plain = ul.unit_ablation(Positional().eval(), pairs(tuple))
    table = ul.unit_ablation(Named().eval(), pairs(tuple), score=of_logits)

    np.testing.assert_allclose(table["loss_increase"], plain["loss_increase"], atol=1e-6)
    with pytest.raises(
        ArgumentError, match=r"'of_logits' fails on the model's output, a dict .*output="
    ):
        ul.unit_ablation(Ambiguous().eval(), pairs(tuple), score=of_logits)


def test_score__of_a_dictionary_for_each_sample_needs_an_output_function():
    class Detector(Joint):
        """As many detections in a sample as there are samples in the example."""

        def forward(self, x, y):
            logits, hidden = self.joined(x, y)
            rows = zip(logits, hidden[:, :3], strict=True)
            return [{"scores": scores, "rest": rest} for scores, rest in rows]

    def lowest(detections, _):
        return torch.stack([found["scores"].min() for found in detections])

    def scores(detections):
        return torch.stack([found["scores"] for found in detections])

    remedy = r"puts out a list, but must .* row for each sample; give output=, a function"
    for score in (lowest, "top1"):
        with pytest.raises(ModelError, match=remedy):
            ul.unit_ablation(Detector().eval(), pairs(tuple), score=score)
    table = ul.unit_ablation(Detector().eval(), pairs(tuple), output=scores)
    plain = ul.unit_ablation(Positional().eval(), pairs(tuple))
    np.testing.assert_allclose(table["loss_increase"], plain["loss_increase"], atol=1e-6)


def test_score__of_items_without_target_gets_the_input():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, UNITS), nn.ReLU(), nn.Linear(UNITS, 4)).eval()

    def error(out, target):
        return (out - target).pow(2).mean(1)

    table = ul.unit_ablation(model, TensorDataset(X), score=error, first_order=True)
    curves = ul.cumulative_ablation(model, TensorDataset(X), score=error, orders=1, points=2)
    with torch.no_grad():
        hidden, base = model[:2](X), mse_loss(model(X), X)
        losses = [mse_loss(model[2](hidden * (torch.arange(UNITS) != u)), X) for u in range(UNITS)]
        empty = mse_loss(model[2](torch.zeros_like(hidden)), X)
    np.testing.assert_allclose(table["loss_increase"], np.array(losses) - float(base), atol=1e-6)
    np.testing.assert_allclose(curves["loss"].values[0], [float(base), float(empty)], atol=1e-6)


def test_one_logit__is_one_line_with_the_remedies():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    with pytest.raises(ArgumentError, match=r"one logit, .* a function .* two logits"):
        ul.unit_ablation(model, TensorDataset(X, torch.zeros(SAMPLES, dtype=torch.int64)))


def test_labels__texts_and_ignored_ones_are_told_in_the_attributes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, UNITS), nn.ReLU(), nn.Linear(UNITS, 3)).eval()
    texts = [(x, "cab"[label]) for x, label in zip(X, LABELS.tolist(), strict=True)]
    sorted_labels = torch.tensor(["abc".index(text) for _, text in texts])
    table = ul.unit_ablation(model, texts)
    expected = ul.unit_ablation(model, TensorDataset(X, sorted_labels))

    np.testing.assert_allclose(table["loss_increase"], expected["loss_increase"])
    assert table.attrs["label_names"] == ["a", "b", "c"]
    assert table["class_name"].values.tolist() == ["a", "b", "c"]
    marked = torch.where(LABELS == 1, -1, LABELS)
    kept = ul.unit_ablation(model, TensorDataset(X, marked), ignore_index=-1)
    subset = ul.unit_ablation(model, TensorDataset(X[LABELS != 1], LABELS[LABELS != 1]))
    np.testing.assert_allclose(kept["loss_increase"], subset["loss_increase"])
    assert (kept.attrs["samples"], kept.attrs["ignored"]) == (8, 4)
    with pytest.raises(
        ArgumentError, match=r"label -1, .* leave such samples out, ignore_index=-1"
    ):
        ul.unit_ablation(model, TensorDataset(X, marked))
