"""What a scheduler is asked for: the estimates of the largest network, with margins."""

import copy

import pytest

from unitlens.config.reading import parse_config
from unitlens.planning import job_sizes
from unitlens.planning.job_sizes import JobSizes
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_estimate import estimate_plan
from unitlens.planning.rates import PASSES, READ

SMALL = {
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "widths": [8]},
    "training": {"epochs": 1},
}
LARGE = {
    "dataset": {"name": "imagenet", "image_size": 224},
    "model": {"name": "resnet50", "weights": "torchvision:IMAGENET1K_V2"},
}
OWN = {**SMALL, "model": {"name": "own_networks:build"}}


def plan_of(**families):
    return make_plan(parse_config({"experiments": copy.deepcopy(families)}))


def stage_of(plan, rule):
    found = estimate_plan(plan, gflops=PASSES.value, read_mb=READ.value)
    return next(stage for stage in found.stages if stage.rule == rule)


def test_job_sizes__are_those_of_the_largest_network():
    both = plan_of(small=SMALL, large=LARGE)
    stage = stage_of(plan_of(large=LARGE), "class_statistics")

    sizes = JobSizes(both)

    assert stage.memory > 4e9
    assert sizes.megabytes("class_statistics") == pytest.approx(1.5 * stage.memory / 1e6, abs=1)
    # Rates are of two cores: one has twice the time.
    alone = 15 + 3 * 60 * 2 * stage.longest
    assert sizes.minutes("class_statistics") == pytest.approx(alone, abs=1)
    assert sizes.minutes("class_statistics", threads=4) == pytest.approx(
        15 + (alone - 15) / 4, abs=1
    )


def test_job_sizes__of_a_small_network_leave_room_for_a_start():
    sizes = JobSizes(plan_of(small=SMALL))

    assert 0 < sizes.megabytes("train") < 2000  # by itself; the rule says the least
    assert 15 <= sizes.minutes("train") <= 16
    # One job measures it: as much memory as its largest step, a minute, thrice, at half the speed.
    assert sizes.megabytes("measure_network") == sizes.megabytes("unit_ablation") > 2000
    assert sizes.minutes("measure_network") == 21


def test_job_sizes__ask_for_a_day_at_most():
    plan = plan_of(large=LARGE)

    assert stage_of(plan, "unit_ablation").longest > 24
    assert JobSizes(plan).minutes("unit_ablation") == 24 * 60


def test_job_sizes__of_the_users_networks_are_unknown():
    sizes = JobSizes(plan_of(own=OWN))
    both = JobSizes(plan_of(own=OWN, large=LARGE))

    assert (sizes.megabytes("train"), sizes.minutes("train")) == (0, 240)
    assert both.megabytes("class_statistics") > 4000
    assert both.minutes("unit_measures") == 240


def test_job_sizes__without_torch_are_unknown(monkeypatch):
    monkeypatch.setattr(job_sizes, "networks_can_be_built", lambda: False)

    sizes = JobSizes(plan_of(small=SMALL))

    assert (sizes.megabytes("train"), sizes.minutes("train")) == (0, 240)
