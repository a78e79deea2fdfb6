"""Results of networks and data that are doubtful warn, and say so in an attribute."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(25, 6, generator=GENERATOR)
LABELS = torch.randint(3, (25,), generator=GENERATOR)
DATASET = TensorDataset(INPUTS, LABELS)


def body(*last):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), *last).eval()


class Wired(nn.Module):
    def __init__(self, wiring):
        super().__init__()
        self.body, self.wiring = body(), wiring

    def forward(self, inputs):
        return self.wiring(self.body, inputs)


def random():
    return Wired(lambda m, x: m[2](dropout(m[1](m[0](x)))))


def by_batch():
    torch.manual_seed(1)
    norm = nn.BatchNorm1d(8, track_running_stats=False)
    return nn.Sequential(nn.Linear(6, 8), norm, nn.ReLU(), nn.Linear(8, 3)).eval()


def centred():
    return Wired(lambda m, x: m(x - x.mean(0)))


class Flipped:
    """Inputs that are flipped at random."""

    def __len__(self):
        return len(INPUTS)

    def __getitem__(self, index):
        flips = torch.rand(()) < 0.5
        return INPUTS[index].flip(0) if flips else INPUTS[index], int(LABELS[index])


RESULTS = {
    "ablation": lambda model, data: ul.unit_ablation(model, data).attrs,
    "curves": lambda model, data: ul.cumulative_ablation(model, data, orders=1, points=2).attrs,
    "statistics": lambda model, data: ul.network_statistics(model, data).attrs,
}
DOUBTFUL = {
    "by batch": (by_batch, DATASET, "depend on the other samples of its batch"),
    "centred": (centred, DATASET, "depend on the other samples of its batch"),
    "random data": (body, Flipped(), "data set gives other inputs"),
    "random network": (random, DATASET, "other numbers for the same inputs from call to call"),
}


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("kind", DOUBTFUL)
def test_repeatability__warns_at_the_callers_line(kind, result):
    make, data, doubt = DOUBTFUL[kind]
    model = make()
    with pytest.warns(ul.RepeatabilityWarning, match=rf"{doubt}.*; (use|give) ") as told:
        attributes = RESULTS[result](model, data)
    assert [warning.filename for warning in told] == [__file__]
    assert doubt in attributes["doubts"]


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("last", [[], [nn.LogSoftmax(1)], [nn.Dropout(0.5)], [nn.ReLU()]])
def test_no_doubt__of_a_plain_network(result, last):
    assert "doubts" not in RESULTS[result](body(*last), DATASET)


def test_store_and_its_statistics_keep_the_doubt(tmp_path):
    with pytest.warns(ul.RepeatabilityWarning):
        path = ul.record_activations(by_batch(), DATASET, tmp_path / "a.zarr")
    activations = ul.open_activations(path)
    assert "depend on the other samples" in activations.attrs["doubts"]
    assert ul.class_statistics(activations).attrs["doubts"] == activations.attrs["doubts"]


def test_last_batch_of_one_sample__joins_the_batch_before(tmp_path):
    model = by_batch()
    with pytest.warns(ul.RepeatabilityWarning):
        path = ul.record_activations(model, DATASET, tmp_path / "a.zarr", batch_size=8)
    recorded = ul.open_activations(path)["2"].activation.values
    with torch.no_grad():
        batches = [INPUTS[:8], INPUTS[8:16], INPUTS[16:]]
        expected = torch.cat([model[:3](batch) for batch in batches])
    np.testing.assert_allclose(recorded, expected, atol=1e-6)
    with pytest.warns(ul.RepeatabilityWarning):
        ul.record_activations(model, DATASET, path, batch_size=8)  # finished, and the same


def test_ablation_by_batch__is_that_of_whole_batches():
    model, naive = by_batch(), []
    with pytest.warns(ul.RepeatabilityWarning):
        table = ul.unit_ablation(model, DATASET, batch_size=25)
    with torch.no_grad():
        hidden = model[:3](INPUTS)
        base = cross_entropy(model[3](hidden).double(), LABELS)
        for unit in range(8):
            ablated = hidden.index_fill(1, torch.tensor([unit]), 0)
            naive.append(float(cross_entropy(model[3](ablated).double(), LABELS) - base))
    np.testing.assert_allclose(table["loss_increase"], naive, atol=1e-6)


@pytest.mark.parametrize("call", [ul.unit_ablation, ul.network_statistics])
def test_batches_of_one_sample__are_refused_where_they_cannot_run(call):
    with pytest.raises(ArgumentError, match=r"batch_size is 1, but.*at least 2"):
        call(by_batch(), DATASET, batch_size=1)


def test_squeezed_output__is_right_with_a_last_batch_of_one():
    squeezed = Wired(lambda m, x: m(x).squeeze())
    table = ul.unit_ablation(squeezed, DATASET, batch_size=8)
    plain = ul.unit_ablation(body(), DATASET)
    np.testing.assert_allclose(table["loss_increase"], plain["loss_increase"], atol=1e-7)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quantiz.*:UserWarning")
def test_dynamic_quantisation__is_noticed():
    model = torch.ao.quantization.quantize_dynamic(body(), {nn.Linear}, dtype=torch.qint8)
    with pytest.warns(ul.RepeatabilityWarning, match="dynamic quantisation"):
        ul.unit_ablation(model, DATASET)


@pytest.mark.parametrize(
    "last", [[nn.Softmax(1)], [nn.Sigmoid()], [nn.Linear(3, 3), nn.Softmax(1)]]
)
@pytest.mark.parametrize("result", RESULTS)
def test_probabilities__warn(last, result):
    model = body(*last)
    with pytest.warns(ul.ScoreWarning, match=r"within 0..1.*without its last softmax") as told:
        attributes = RESULTS[result](model, DATASET)
    assert [warning.filename for warning in told] == [__file__]
    assert "the loss takes them for logits" in attributes["doubts"]


def test_probabilities__the_score_of_the_warning_gives_the_loss_of_the_logits():
    with pytest.warns(ul.ScoreWarning) as told:
        ul.unit_ablation(body(nn.Softmax(1)), DATASET)
    score = eval(str(told[0].message).partition("score=")[2])
    table = ul.unit_ablation(body(nn.Softmax(1)), DATASET, score=score)
    plain = ul.unit_ablation(body(), DATASET)
    np.testing.assert_allclose(table["loss_increase"], plain["loss_increase"], atol=1e-5)
    np.testing.assert_array_equal(table["accuracy_drop"], plain["accuracy_drop"])
    assert table.attrs["baseline_loss"] == pytest.approx(plain.attrs["baseline_loss"], rel=1e-5)


@pytest.mark.parametrize("result", ["ablation", "curves"])
def test_nan_input__is_told_with_its_sample(result, caplog):
    inputs = INPUTS.clone()
    inputs[13] = torch.nan
    attributes = RESULTS[result](body(), TensorDataset(inputs, LABELS))
    assert "loss of 1 of 25 samples is not finite, first that of sample 13" in caplog.text
    assert "sample 13" in attributes["doubts"]
