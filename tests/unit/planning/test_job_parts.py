"""Into how many jobs a perturbation is split, and what the estimate says of them."""

from pathlib import Path
from typing import Any

import pytest

from unitlens.config.perturbation import CumulativeAblationSpec, NoiseRobustnessSpec
from unitlens.config.reading import parse_config, read_config
from unitlens.errors import ConfigError
from unitlens.planning.job_parts import PartCounter, parts_for
from unitlens.planning.plan import Plan, make_plan
from unitlens.planning.plan_estimate import estimate_plan

ROOT = Path(__file__).parents[3]
PERTURBATIONS = ("cumulative_ablation", "noise_robustness", "unit_ablation")


def planned(**measurements: object) -> Plan:
    """Return the plan of one small network on scikit-learn's digits."""
    family = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "widths": [16, 8]},
        "training": {"epochs": 1},
        "seeds": [1],
    }
    return make_plan(
        parse_config({"experiments": {"digits": family}, "measurements": measurements})
    )


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_parts__that_are_named_are_counted(perturbation: str) -> None:
    plan = planned(**{perturbation: {"parts": 7}})
    assert PartCounter(plan).count(*plan.runs, perturbation) == 7


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_parts__of_less_than_ten_minutes_are_one(perturbation: str) -> None:
    plan = planned(**{perturbation: {"parts": "auto"}})
    assert PartCounter(plan).count(*plan.runs, perturbation) == 1


def test_parts__are_no_more_than_orders_or_draws() -> None:
    assert parts_for(NoiseRobustnessSpec(parts=20, draws=6), 0) == 6
    assert parts_for(CumulativeAblationSpec(parts=20, orders=5), 0) == 5
    by = CumulativeAblationSpec(parts=20, orders=5, by=("selectivity",))
    assert parts_for(by, 0) == 7
    with_variant = CumulativeAblationSpec.model_validate(
        {"parts": 20, "orders": 5, "by": ("selectivity",), "also": [{"basis": "random"}]}
    )
    assert parts_for(with_variant, 0) == 5  # the variant has the random orders alone


def test_parts__are_jobs_of_ten_minutes_or_of_twice_what_is_repeated() -> None:
    auto = NoiseRobustnessSpec(parts="auto", draws=1000)
    for hours, repeated in ((4.0, 0.0), (4.0, 0.05), (30.0, 0.3)):
        parts = parts_for(auto, hours, repeated)
        longest = repeated + (hours - repeated) / parts
        assert longest == pytest.approx(max(1 / 6, 2 * repeated), rel=0.05)
    assert parts_for(auto, 0.2, 0.19) == 1


def test_parts__of_the_largest_preset_are_fewer_than_its_units() -> None:
    plan = make_plan(read_config(ROOT / "presets/imagenet.yaml"))
    (network,) = plan.runs
    section = plan.settings_of(network).unit_ablation
    assert section is not None
    (whole,) = (s for s in estimate_plan(plan).stages if s.rule == "unit_ablation")
    auto = section.model_copy(update={"parts": "auto"})
    assert 30 < parts_for(auto, whole.hours, 0.25) < 22_720


def test_estimate__of_parts_shares_all_but_the_unperturbed_passes() -> None:
    longest = {}
    for parts in (1, 2, 4):
        stages = {s.rule: s for s in estimate_plan(planned(unit_ablation={"parts": parts})).stages}
        stage = stages["unit_ablation" if parts == 1 else "perturb_part"]
        assert ("unit_ablation" in stages) == (parts == 1)
        assert stage.jobs == parts
        assert stage.hours == pytest.approx(parts * stage.longest)
        if parts > 1:
            assert stages["merge_tables"].jobs == 1
        longest[parts] = stage.longest
    shared = 2 * (longest[1] - longest[2])
    assert longest[4] == pytest.approx(longest[1] - shared * 3 / 4)
    # Five of the passes, of which a unit of the last layer takes one output's share and more.
    assert 0.1 < 1 - shared / longest[1] < 0.9


def test_estimate__of_parts_repeats_the_gradients_of_drawn_pairs() -> None:
    def repeated(**settings: Any) -> float:
        one, two = (
            next(
                s
                for s in estimate_plan(planned(unit_ablation=settings | parts)).stages
                if s.rule in rules
            )
            for parts, rules in (({}, {"unit_ablation"}), ({"parts": 2}, {"perturb_part"}))
        )
        return 2 * two.longest - one.longest

    # Two passes without a perturbation, and three for each gradient.
    exact = repeated(first_order=False)
    assert repeated(first_order=True) == pytest.approx(exact * 5 / 2)
    assert repeated(first_order=False, rate=0.1) == pytest.approx(exact * 5 / 2)
    assert repeated(first_order=True, tolerance=0.01) == pytest.approx(exact * 8 / 2)


def test_parts__of_another_kind_are_refused() -> None:
    for parts in (0, -1, "many", 1.5, True):
        with pytest.raises(ConfigError, match=r"measurements\.unit_ablation\.parts = "):
            planned(unit_ablation={"parts": parts})
