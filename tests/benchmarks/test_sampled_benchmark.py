"""The benchmark of sampled ablation compares with plain sampling and with all pairs."""

import torch

import sampled_ablation
import sampled_coverage
from networks_by_hand import random_pairs
from subjects import Subject, train
from unitlens.config.networks import MLPSpec
from unitlens.training.models import build_model


def small_case(*_):
    inputs = random_pairs(300, 6, dtype=torch.float32).inputs
    labels = (inputs @ torch.randn(6, 4, generator=torch.Generator().manual_seed(1))).argmax(1)
    spec = MLPSpec(name="mlp", widths=(12, 10))
    model = build_model(spec, input_shape=(6,), classes=4, seed=0)
    train(model, inputs, labels, epochs=3, batch=20)
    return sampled_ablation.Case(Subject(model, inputs, labels, "made-up samples"), None, 4)


def test_main__prints_the_table_of_each_network(capsys, monkeypatch):
    monkeypatch.setattr(sampled_ablation, "make_case", small_case)
    sampled_ablation.main(["--subjects", "small", "--threads", str(torch.get_num_threads())])

    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "### small: made-up samples, 22 units"
    assert [line[:4] for line in lines[5:7]] == ["| 1 ", "| 2 "]
    assert "rank correlation with the exact importance" in lines[-4]
    assert [line[:8] for line in lines[-2:]] == ["| a rate", "| a tole"]


def test_compare__drawn_pairs_vary_less_than_plain_samples():
    rows, whole = sampled_ablation.compare(small_case())

    assert [row["layer"] for row in rows] == [1, 2]
    assert min(row["median"] for row in rows) > 3
    assert 0.005 < whole["rate"]["error"] < 0.04
    assert whole["tolerance"]["error"] < 0.03
    assert min(whole["rate"]["rank"], whole["tolerance"]["rank"]) > 0.97
    assert whole["samples"] == 300
    assert whole["units"] == 22


def test_coverage__of_the_intervals_of_many_seeds():
    rows = sampled_coverage.coverage(small_case().subject, seeds=150)

    assert [row["layer"] for row in rows] == [1, 2]
    for row in rows:
        assert row["units"] >= 3
        assert row["pairs"] >= 50
        assert 0.88 < row["median"] < 0.99
        assert row["least"] > 0.75
