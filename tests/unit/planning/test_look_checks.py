"""Kept epochs that have no batch of their own are refused before anything runs."""

import pytest

from unitlens.config.reading import parse_config
from unitlens.errors import ConfigError
from unitlens.planning.network_checks import check_networks
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_estimate import estimate_plan


def family(checkpoints, batch_size=128, **dataset):
    return {
        "dataset": {"name": "mnist5k", **dataset},
        "model": {"name": "mlp"},
        "training": {"epochs": 4, "batch_size": batch_size, "checkpoints": checkpoints},
    }


def plan(**families):
    return make_plan(parse_config({"experiments": families}))


# mnist5k has 4,000 samples to train on: 32 batches of 128.
@pytest.mark.parametrize(
    ("checkpoints", "settings", "line"),
    [
        ([0.5, 0.51], {}, r"0\.5 and 0\.51 fall on the same batch, number 16 of 32"),
        ([1.001], {}, r"1\.001 falls on no batch of its own: .*\(32\) it comes before the first"),
        ({"every": 0.25, "until": 1}, {"batch_size": 2000}, r"number 1 of 2|after the last|before"),
        ([0.25], {"train_samples": 100}, r"0\.25 falls on no batch .* epoch \(1\)"),
        ([0.25, 0.3], {"name": "mine:load", "train_samples": 512}, "number 1 of 4"),
    ],
)
def test_check_networks__refuses_crowded_looks(checkpoints, settings, line):
    with pytest.raises(ConfigError, match=rf"^experiments\.a\.training\.checkpoints: .*(?:{line})"):
        check_networks(plan(a=family(checkpoints, **settings)))


def test_check_networks__names_the_experiments_whose_looks_are_joined():
    crowded = plan(a=family([0.5]), b=family([0.51]))

    with pytest.raises(
        ConfigError, match=r"^experiments\.a\.training\.checkpoints \(with those of b"
    ):
        check_networks(crowded)


def test_check_networks__accepts_looks_with_a_batch_each():
    check_networks(plan(a=family([0, {"every": 0.03125, "until": 4}])))


def test_estimate__counts_the_scores_of_looks():
    def hours(checkpoints):
        (stage,) = (
            stage
            for stage in estimate_plan(plan(a=family(checkpoints))).stages
            if stage.rule == "train"
        )
        return stage.hours

    plain, whole, looked = hours([]), hours([1, 2]), hours({"every": 0.25, "until": 4})
    assert whole == plain
    assert looked > plain
