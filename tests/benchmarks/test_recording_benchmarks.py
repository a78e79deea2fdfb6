"""The benchmarks of recording and of codecs at tiny size: they work, and say what they should."""

import json

import pytest
import torch

import store_codecs
from networks_by_hand import random_pairs
from recording import ASKED, Race, run, table
from subjects import Loaded, Subject
from unitlens.config.networks import ConvNetSpec
from unitlens.training.models import build_model


@pytest.fixture
def subject():
    pairs = random_pairs(40, 3, 9, 9, dtype=torch.float32)
    model = build_model(
        ConvNetSpec(name="convnet", width=1 / 16), input_shape=(3, 9, 9), classes=4, seed=0
    )
    return Subject(model.eval(), pairs.inputs, pairs.labels, "40 samples")


def test_recording__is_compared_with_the_bare_passes(subject, tmp_path):
    race = Race(subject.model, Loaded(subject.inputs, subject.labels), tmp_path)

    row = run("tiny", race, repeats=2)

    assert row["asked"] == ASKED
    speeds = row["unitlens_samples_per_second"], row["peer_samples_per_second"]
    assert row["reached"] == pytest.approx(speeds[0] / speeds[1])
    assert race.bare() == 40
    assert not race.path.parent.exists()
    assert json.loads(json.dumps(row)) == row
    assert f"{row['reached']:.2f}" in table([row])


def test_codecs__are_measured_on_what_is_read_back(subject):
    found = {"tiny": store_codecs.measure(store_codecs.activations(subject), threads=1, turns=1)}

    assert len(found["tiny"]) == 2 * len(store_codecs.candidates())
    for row in found["tiny"].values():
        assert min(row.values()) > 0
    assert store_codecs.table(found).count("\n") == 1 + len(found["tiny"])
