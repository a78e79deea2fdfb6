"""What a plan takes, against numbers worked out by hand, and docs/scale.md against the plan."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from unitlens.config.reading import parse_config, read_config
from unitlens.errors import ArgumentError
from unitlens.planning import rates
from unitlens.planning.listing import assumptions, list_stages, list_stores
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_estimate import estimate_plan

ROOT = Path(__file__).parents[3]
FORWARD = 64 * 16 + 16 * 8 + 8 * 10
TRAIN, TEST, UNITS = 1437, 360, 24
GIGA = 1e9


def planned(seeds=(1, 2), **measurements):
    """Return the plan of two small networks on scikit-learn's digits."""
    family = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "widths": [16, 8]},
        "training": {"epochs": 4, "batch_size": 10, "checkpoints": [1]},
        "seeds": list(seeds),
    }
    values = {"experiments": {"digits": family}, "measurements": measurements}
    return make_plan(parse_config(values))


def stage(estimate, rule):
    (of_rule,) = (stage for stage in estimate.stages if stage.rule == rule)
    return of_rule


def seconds(estimate, rule):
    return stage(estimate, rule).longest * 3600


def test_stores__bytes_are_those_of_activations_samples_and_ranges():
    train, test = estimate_plan(planned()).stores
    by_sample = 5 * 8  # index, two labels, prediction, loss
    ranges = UNITS * 2 * 4

    assert (train.name, train.stores, train.samples) == ("digits mlp train", 2, TRAIN)
    assert (train.layers, train.units) == (2, UNITS)
    assert train.bytes == 2 * (TRAIN * (UNITS * 4 + by_sample) + ranges)
    assert test.bytes == 2 * (TEST * (UNITS * 4 + by_sample) + ranges)
    dense = 2 * TRAIN * UNITS * 4
    expected = train.bytes - dense + dense / rates.NEURONS.value
    assert train.compressed == pytest.approx(expected, abs=2)


def test_stores__of_kept_epochs_are_there_where_they_are_measured():
    kept = estimate_plan(planned(measures={"checkpoints": True}))

    assert [one.stores for one in kept.stores] == [4, 4]
    assert stage(kept, "record_activations").jobs == 4
    assert stage(kept, "train").jobs == 2


def test_hours__of_training_are_three_passes_a_sample_and_the_scores():
    estimate = estimate_plan(planned(), gflops=7)
    scored = 5 * (TRAIN + TEST) * FORWARD * 2 / (7 * GIGA)
    trained = 4 * TRAIN * 3 * FORWARD * 2 / (7 * GIGA * rates.SHARES["train"].value)

    assert seconds(estimate, "train") == pytest.approx(scored + trained)
    assert stage(estimate, "train").hours == pytest.approx(2 * stage(estimate, "train").longest)


def test_hours__of_recording_are_a_pass_over_both_splits():
    estimate = estimate_plan(planned(), gflops=7)
    speed = 7 * GIGA * rates.SHARES["record_activations"].value

    expected = (TRAIN + TEST) * FORWARD * 2 / speed
    assert seconds(estimate, "record_activations") == pytest.approx(expected)


def test_hours__of_statistics_are_the_disk_s_or_the_processor_s():
    numbers = (TRAIN + TEST) * UNITS * 4
    slow, fast = (estimate_plan(planned(), read_mb=read_mb) for read_mb in (0.01, 1e9))
    compressed = sum(one.compressed for one in slow.stores) / 2

    assert seconds(slow, "class_statistics") == pytest.approx(compressed / 1e4, rel=1e-3)
    expected = numbers / (rates.STATISTICS.value * 1e6)
    assert seconds(fast, "class_statistics") == pytest.approx(expected)


def test_hours__of_unit_ablation_follow_samples_units_and_what_they_are_clamped_to():
    speed = GIGA * rates.SHARES["unit_ablation"].value / 2
    behind = 16 * (8 + 80) + 8 * 10  # both layers; a column of what reads the unit
    every = 2 * FORWARD + behind
    first_order = 3 * FORWARD

    def of(**settings):
        return seconds(estimate_plan(planned(unit_ablation=settings), gflops=1), "unit_ablation")

    assert of() == pytest.approx(TRAIN * (every + first_order) / speed)
    assert of(samples=100, first_order=False) == pytest.approx(100 * every / speed)
    assert of(samples=5000, first_order=False) == pytest.approx(TRAIN * every / speed)
    half = of(units=12, first_order=False)
    assert half == pytest.approx(TRAIN * (2 * FORWARD + behind / 2) / speed)
    four = of(units_per_layer=4, first_order=False)
    assert four == pytest.approx(TRAIN * (2 * FORWARD + 4 * (8 + 80) + 4 * 10) / speed)
    drawn = of(rate=0.1, first_order=False)
    assert drawn == pytest.approx(TRAIN * (2 * FORWARD + behind / 10 + first_order) / speed)
    assert of(tolerance=0.01) == of(rate=0.05)
    means = of(value="class_mean", split="test", first_order=False)
    assert means == pytest.approx((TEST * every + TRAIN * FORWARD) / speed)


def test_hours__of_a_random_basis_turn_the_activations():
    settings = {"samples": 100, "orders": 2, "points": 5, "basis": "random", "layers": {"last": 1}}
    estimate = estimate_plan(planned(cumulative_ablation=settings), gflops=1)
    sets, behind = 2 * 3 + 1, 80
    each = 2 * FORWARD - behind + sets * (behind + 8 * 8)

    speed = GIGA * rates.SHARES["cumulative_ablation"].value / 2
    assert seconds(estimate, "cumulative_ablation") == pytest.approx(100 * each / speed)


def test_hours__of_principal_components_are_products_of_units_with_each_other():
    estimate = estimate_plan(planned(principal_components={"split": "test"}), gflops=1e-3)
    speed = 1e6 * rates.SHARES["principal_components"].value / 2

    assert seconds(estimate, "principal_components") == pytest.approx(TEST * (16**2 + 8**2) / speed)
    memory = stage(estimate, "principal_components").memory
    assert memory == rates.PROCESS_BYTES + (2 + 5) * 16**2 * 8


def test_hours__of_curves_along_components_have_two_orders_more():
    settings = {"samples": 100, "orders": 2, "points": 5, "basis": "principal_components"}
    four = settings | {"orders": 4, "basis": "random"}
    along, random = (
        estimate_plan(planned(cumulative_ablation=one, principal_components={}), gflops=1)
        for one in (settings, four)
    )

    assert stage(along, "cumulative_ablation") == stage(random, "cumulative_ablation")


def test_hours__of_measures_up_and_down_are_two_orders_each():
    settings = {"orders": 3, "points": 4, "by": ["mean", "selectivity"], "value": "zero"}
    seven = settings | {"orders": 7, "by": []}
    by, random = (
        stage(estimate_plan(planned(cumulative_ablation=one)), "cumulative_ablation")
        for one in (settings, seven)
    )

    assert by.hours == pytest.approx(random.hours)


def test_hours__of_variants_are_those_of_each_alone():
    curve = {"orders": 3, "points": 4, "samples": 100}
    variants = [{"value": "class_mean"}, {"basis": "random"}, {"basis": "principal_components"}]

    def hours(**settings):
        estimate = estimate_plan(
            planned(cumulative_ablation=curve | settings, principal_components={})
        )
        return stage(estimate, "cumulative_ablation").hours

    together = hours(by=["mean"], also=variants)
    assert together == pytest.approx(hours(by=["mean"]) + sum(hours(**one) for one in variants))


def test_hours__of_noise_are_those_of_all_variants():
    settings = {"samples": 100, "draws": 3, "scales": {"points": 5}}
    estimate = estimate_plan(planned(noise_robustness=settings), gflops=1)
    behind = 16 * 8 + 80

    speed = GIGA * rates.SHARES["noise_robustness"].value / 2
    expected = 100 * (2 * FORWARD - behind + 15 * behind) / speed
    assert seconds(estimate, "noise_robustness") == pytest.approx(expected)


def test_memory__of_statistics_is_that_of_the_table_as_it_is_put_together():
    estimate = estimate_plan(planned(statistics={"fine_bins": 4}))
    cells = UNITS * 10
    tables = cells * 5 * 4 * 2 + cells * (4 + 5 + 5) * 8

    expected = rates.PROCESS_BYTES + tables
    assert stage(estimate, "class_statistics").memory == expected
    both = rates.PROCESS_BYTES + 2 * cells * (5 * 4 + 5 * 8)
    assert stage(estimate, "unit_measures").memory == both


def test_memory__of_perturbations_is_their_budget_beside_weights_and_results():
    weights = (FORWARD + 16 + 8 + 10) * 4
    estimate = estimate_plan(planned(unit_ablation={"units": 20}))
    noise = stage(estimate, "noise_robustness").memory

    assert noise == rates.PROCESS_BYTES + weights + 2e9
    # of each unit and class four sums, four means and errors of them, two on the way
    assert stage(estimate, "unit_ablation").memory == noise + 20 * 10 * 13 * 8
    more = estimate_plan(planned(noise_robustness={"memory_gb": 6.5}))
    assert stage(more, "noise_robustness").memory == noise + 4.5e9


def test_sections_that_are_left_out__have_no_jobs():
    estimate = estimate_plan(planned(unit_ablation=None, noise_robustness=None))

    rules = {one.rule for one in estimate.stages}
    assert "unit_ablation" not in rules
    assert "noise_robustness" not in rules
    assert "cumulative_ablation" in rules


@pytest.mark.parametrize("rate", ["gflops", "read_mb"])
def test_rates__must_be_above_zero(rate):
    with pytest.raises(ArgumentError, match=rf"{rate} is 0, but must be above 0"):
        estimate_plan(planned(), **{rate: 0})


def test_listings__have_sums_and_fit_a_terminal():
    estimate = estimate_plan(planned())
    stages, stores = list_stages(estimate), list_stores(estimate)
    shown = StringIO()
    Console(file=shown, width=150).print(stages.rich())

    assert stages.rows[-1][1] == str(1 + 2 * 7 + 3)
    assert stores.rows[-1][-1] == str(sum(one.files for one in estimate.stores))
    assert "noise_robustness" in shown.getvalue()
    assert {len(line) for line in stores.markdown().splitlines()} == {
        len(stores.markdown().partition("\n")[0])
    }


def test_scale_page__has_the_figures_of_the_preset():
    page = (ROOT / "docs/scale.md").read_text()
    plan = make_plan(read_config(ROOT / "presets/imagenet.yaml"))
    here = estimate_plan(plan)

    for listing in (list_stores(here), list_stages(here)):
        assert listing.markdown() in page
    assert "\n".join(assumptions(here)) in page
    assert list_stages(estimate_plan(plan, gflops=10_000)).markdown() in page
