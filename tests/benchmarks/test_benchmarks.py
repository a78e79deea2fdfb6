"""The benchmark of perturbations at tiny size: it works, and both sides give the same numbers."""

import dataclasses
import json
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from measuring import alternate, fastest
from needed_work import Work, reached
from networks_by_hand import random_pairs
from peers import captum_mask
from perturbation import CASES, main, run, table
from races import LOSS_TOLERANCE, Numbers, Size, agreement
from subjects import Subject, settle_batch_norm, train
from unitlens.config.networks import ConvNetSpec, MLPSpec
from unitlens.training.models import build_model


def trained(spec, shape, samples=70):
    pairs = random_pairs(samples, *shape, dtype=torch.float32)
    model = build_model(spec, input_shape=shape, classes=4, seed=0)
    train(model, pairs.inputs, pairs.labels, epochs=2, batch=10)
    return Subject(model, pairs.inputs, pairs.labels, f"{samples} samples")


def tiny_mlp():
    return trained(MLPSpec(name="mlp", widths=(13, 9)), (1, 4, 4))


def tiny_convnet():
    return trained(ConvNetSpec(name="convnet", width=1 / 16), (3, 9, 9))


def tiny_resnet():
    """Five blocks stand for ResNet-50's sixteen."""
    from torchvision.models.resnet import Bottleneck, ResNet

    torch.manual_seed(0)
    model = ResNet(Bottleneck, [1, 2, 1, 1], num_classes=4)
    pairs = random_pairs(2, 3, 40, 40, dtype=torch.float32)
    settle_batch_norm(model, pairs.inputs)
    return Subject(model.eval(), pairs.inputs, pairs.labels, "2 images")


TINY = {
    "mlp": (tiny_mlp, Size(70, orders=3, points=5)),
    "convnet": (tiny_convnet, Size(70, orders=2, points=5, draws=2, scales=3)),
    "resnet50": (tiny_resnet, Size(2, units=6)),
}


@pytest.mark.parametrize(
    ("name", "share"),
    [*((name, 0.5) for name in CASES), ("mlp-hooks", 1.0), ("mlp-captum", 1.0),
     ("mlp-cumulative", 1.0), ("convnet-noise", 1.0)],
)  # fmt: skip
def test_case__gives_the_numbers_of_its_peer(name, share):
    build, size = TINY[name.partition("-")[0]]
    size = dataclasses.replace(size, last=CASES[name].size.last)

    row = run(name, build(), size, share=share, matmul=1.0)

    assert row["equal"], row["differences"]
    assert (row["peer_factor"] > 1) == (share < 1)
    for key in ("reached", "unitlens_seconds", "peer_seconds", "needed_macs", "gflops"):
        assert row[key] > 0
    assert json.loads(json.dumps(row)) == row
    assert ("timed on a part" in table([row])) == (share < 1)


def test_main__fails_where_numbers_differ(monkeypatch, tmp_path, capsys):
    case = CASES["mlp-hooks"]

    class Wrong(case.race):
        def peer(self):
            right = super().peer()
            return dataclasses.replace(right, loss=right.loss + 1e-3 * right.baseline_loss)

    tiny = dataclasses.replace(case, race=Wrong, subject=lambda *_: tiny_mlp())
    monkeypatch.setitem(CASES, "mlp-hooks", tiny)
    monkeypatch.setattr("perturbation.matmul_gflops", lambda: 1.0)
    written = tmp_path / "rows.json"
    monkeypatch.setattr(
        sys, "argv",
        ["perturbation.py", "--data", "none", "--only", "mlp-hooks", "--threads", "1",
         "--json", str(written)],
    )  # fmt: skip

    with pytest.raises(SystemExit, match="1"):
        main()

    assert "numbers DIFFER" in capsys.readouterr().out
    assert not json.loads(written.read_text())["cases"][0]["equal"]


def numbers(loss, hits):
    return Numbers(np.array(loss), np.array(hits), baseline_loss=2.0, samples=10)


def test_agreement__is_relative_to_the_baselines_loss():
    ours = numbers([1.0, 3.0], [4, 5])
    just = numbers([1.0, 3.0 + 1.9 * LOSS_TOLERANCE], [4, 5])
    beyond = numbers([1.0, 3.0 + 2.1 * LOSS_TOLERANCE], [4, 5])

    assert agreement(ours, just).equal
    assert not agreement(ours, beyond).equal


def test_agreement__takes_a_handful_of_right_answers_for_ties():
    ours = numbers([1.0, 3.0], [4, 5])

    assert agreement(ours, numbers([1.0, 3.0], [7, 3])).equal
    assert not agreement(ours, numbers([1.0, 3.0], [8, 3])).equal
    assert not agreement(ours, numbers([1.0, float("nan")], [4, 5])).equal


def test_work__of_a_dense_network_by_hand():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    work = Work(model, torch.zeros(1, 5))

    assert work.total == 20 + 12 + 6
    assert [work.behind_one(layer) for layer in ("1", "3")] == [3 + 6, 2]
    assert [work.behind_all(layer) for layer in ("1", "3")] == [12 + 6, 6]
    # Two sets: half of the first layer and a third of the second left; then all of both.
    kept = {"1": np.array([0.5, 1]), "3": np.array([1 / 3, 1])}
    assert work.behind_sets(["1", "3"], kept) == pytest.approx((2 + 2) + (12 + 6))
    assert work.behind_sets(["1"], {"1": np.array([0.5])}) == pytest.approx(6 + 6)


class Branching(nn.Module):
    """A change of one channel stays in it through the sum, and meets two products."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1, groups=2)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        stem = self.relu(self.norm(self.stem(x)))
        both = self.relu(self.inner(stem) + stem)
        return self.head(self.pool(both).flatten(1))


def test_work__of_branches_by_hand():
    work = Work(Branching(), torch.zeros(1, 2, 5, 5))
    stem, inner, head = 25 * 4 * 2 * 9, 25 * 4 * 2, 12

    assert work.total == stem + inner + head
    assert work.behind_one("relu") == inner / 4 + head
    assert work.behind_one("relu_1") == head / 4


def test_reached__counts_samples_by_unit():
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    inputs = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]], [[0.0, 2.0], [-1.0, -3.0]]])

    assert reached(model, inputs, {"1": 2}, batch=1)["1"].tolist() == [2, 0]
    assert reached(model, inputs[:, 0], {"1": 2}, batch=2)["1"].tolist() == [0, 2]


def test_captum_mask__puts_all_other_units_into_one_feature():
    assert captum_mask([2, 0], 4, 2).tolist() == [[1, 2, 0, 2]]
    assert captum_mask([2, 0], 4, 4).shape == (1, 4, 1, 1)


def test_fastest__is_by_sample():
    def trial(batch):
        time.sleep(0.002 if batch == 1 else 0.004)
        return batch

    assert fastest([1, 4], trial) == 4


def test_alternate__changes_who_goes_first():
    turns = []

    def ours():
        turns.append("ours")
        return len(turns)

    def peer():
        turns.append("peer")

    mine, _ = alternate(ours, peer, 3)

    assert turns == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert (mine.result, len(mine.seconds)) == (1, 3)
    turns.clear()
    alternate(ours, peer, 1)
    assert turns == ["ours", "peer", "ours"]
