"""An experiment is measured as the file says for all, but for the keys that it names itself."""

import copy

import pytest

from unitlens.config.reading import parse_config
from unitlens.errors import ConfigError
from unitlens.planning.network_checks import check_networks
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_estimate import estimate_plan

FAMILY = {
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "widths": [16, 8]},
    "training": {"epochs": 4, "batch_size": 10, "checkpoints": [1]},
    "seeds": [1],
}
CURVE = {"samples": 300, "orders": 4, "layers": ["relu1"]}


def values(measurements=None, **overrides):
    """Return a configuration with a family of networks for each override, by its name."""
    experiments = {}
    for seed, (name, override) in enumerate(overrides.items()):
        experiments[name] = copy.deepcopy(FAMILY) | {"seeds": [seed], "measurements": override}
    return {"experiments": experiments, "measurements": measurements or {}}


def shared(one, two):
    """Return the plan of one network that two experiments measure."""
    config = values(a=one, b=two)
    config["experiments"]["b"]["seeds"] = [0]
    return make_plan(parse_config(config))


def test_override__replaces_just_the_keys_that_it_names():
    config = parse_config(
        values({"cumulative_ablation": CURVE}, a={}, b={"cumulative_ablation": {"samples": 50}})
    )
    plain, other = (config.measurements_of(name).cumulative_ablation for name in "ab")

    assert (plain.samples, plain.orders, plain.layers) == (300, 4, ("relu1",))
    assert (other.samples, other.orders, other.layers) == (50, 4, ("relu1",))
    assert config.measurements_of("a") == config.measurements


def test_override__leaves_sections_out_and_takes_them_in():
    config = parse_config(
        values(
            {"noise_robustness": None}, a={"noise_robustness": {"draws": 3}, "unit_ablation": None}
        )
    )
    settings = config.measurements_of("a")

    assert settings.unit_ablation is None
    assert (settings.noise_robustness.draws, settings.noise_robustness.split) == (3, "train")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            {"unit_ablation": {"sample": 3}},
            "experiments.a.measurements.unit_ablation.sample is not a key of the configuration: "
            "did you mean 'samples'?",
        ),
        (
            {"measure": {}},
            "experiments.a.measurements.measure is not a key of the configuration: "
            "did you mean 'measures'?",
        ),
        (
            {"activations": {"maps": {"samples": 0}}},
            "experiments.a.measurements.activations.maps.samples = 0: input should be greater",
        ),
        (
            {"activations": {"layers": ["relu1"]}},
            "experiments.a.measurements: activations.layers must have all layers of noise_robust",
        ),
        ({"unit_ablation": 3}, "experiments.a.measurements.unit_ablation = 3: must be keys with"),
    ],
)
def test_override__is_refused_under_its_own_key(override, message):
    with pytest.raises(ConfigError) as refused:
        parse_config(values(a=override))

    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("other", [{"value": "resample"}, {"basis": "random"}])
def test_main_curves__are_alike_in_all_experiments(other):
    with pytest.raises(ConfigError, match=r"experiments.b has cumulative_ablation along .* but a"):
        parse_config(values(a={}, b={"cumulative_ablation": other}))

    assert parse_config(values(a={}, b={"cumulative_ablation": {"also": [other]}}))
    assert parse_config(values(a={"cumulative_ablation": None}, b={"cumulative_ablation": other}))


def test_figures__need_what_their_own_experiments_measure():
    config = values({"noise_robustness": None}, a={"noise_robustness": {}}, b={})
    config["figures"] = {"memorisation_noise": ["a"]}
    assert parse_config(config)

    config["figures"] = {"memorisation_noise": ["a", "b"]}
    with pytest.raises(
        ConfigError,
        match=r"figures.memorisation_noise needs measurements.noise_robustness, which is null for "
        "the experiment 'b'",
    ):
        parse_config(config)


def test_figures__of_an_experiment_with_an_unknown_key_name_that_key():
    config = values(a={"unit_ablation": {"sample": 3}})
    config["figures"] = {"selectivity_importance": ["a"]}

    with pytest.raises(ConfigError, match=r"^experiments.a.measurements.unit_ablation.sample is"):
        parse_config(config)


def test_shared_network__is_measured_in_the_sections_of_both():
    plan = shared({"unit_ablation": None}, {"noise_robustness": None})
    (settings,) = (run.measurements for run in plan.runs.values())

    assert settings.unit_ablation is not None
    assert settings.noise_robustness is not None


def test_shared_network__is_measured_at_kept_epochs_where_one_experiment_asks():
    plan = shared({}, {"cumulative_ablation": {"checkpoints": True}})
    (run,) = plan.runs

    assert plan.measured("cumulative_ablation") == [run, f"{run}/epoch-0001"]
    assert plan.measured("noise_robustness") == [run]


def test_shared_network__cannot_be_measured_in_two_ways():
    with pytest.raises(ConfigError) as refused:
        shared({"unit_ablation": {"samples": 100}}, {"unit_ablation": {"samples": 200}})

    text = str(refused.value)
    assert text.startswith("experiments.a and experiments.b share the network digits-mlp-seed0-")
    assert "measurements.unit_ablation.samples is 100 for one and 200 for the other" in text


def test_plan__measures_each_network_as_its_experiment_says():
    plan = make_plan(
        parse_config(
            values(
                a={"unit_ablation": None},
                b={"noise_robustness": {"checkpoints": True}, "cumulative_ablation": None},
            )
        )
    )
    a, b = plan.runs

    assert plan.measured("unit_ablation") == [b]
    assert plan.measured("cumulative_ablation") == [a]
    assert plan.measured("noise_robustness") == [a, b, f"{b}/epoch-0001"]
    assert plan.files_of_experiments()["a"]["kept"] == []
    assert plan.files_of_experiments()["b"]["kept"] == ["noise_robustness"]
    assert "cumulative_ablation" not in plan.files_of_experiments()["b"]["runs"]


def test_check_networks__names_the_experiment_that_names_a_layer():
    plan = make_plan(parse_config(values(a={}, b={"unit_ablation": {"layers": ["relu9"]}})))

    with pytest.raises(ConfigError, match=r"^experiments.b.measurements.unit_ablation.layers \(fo"):
        check_networks(plan)


def test_estimate__adds_up_what_the_experiments_take_alone():
    overrides = {
        "a": {"activations": {"parts": 3, "dtype": "float16"}, "unit_ablation": None},
        "b": {"cumulative_ablation": {"orders": 3, "samples": 100}},
        "c": {"noise_robustness": None, "activations": {"layers": ["relu1"]}},
    }

    def estimated(**experiments):
        return estimate_plan(make_plan(parse_config(values(**experiments))))

    together = estimated(**overrides)
    alone = [estimated(**{name: override}) for name, override in overrides.items()]

    once = {"prepare_dataset", "tabulate", "draw_figures", "write_report"}
    rules = {stage.rule for stage in together.stages}
    assert {"record_activations", "record_part", "merge_activations"} <= rules
    for stage in together.stages:
        same = [s for one in alone for s in one.stages if s.rule == stage.rule]
        if stage.rule not in once:
            assert stage.jobs == sum(s.jobs for s in same)
            assert stage.hours == pytest.approx(sum(s.hours for s in same))
            assert stage.memory == max(s.memory for s in same)
    assert sum(s.bytes for s in together.stores) == sum(s.bytes for o in alone for s in o.stores)
    assert [s.units for s in together.stores] == [24, 24, 24, 24, 16, 16]


CURVES_ALONE = {"measures": None, "unit_ablation": None, "noise_robustness": None}


def test_curves_alone__are_neither_recorded_nor_summarised():
    plan = make_plan(parse_config(values(a={}, b=CURVES_ALONE)))
    a, b = plan.runs

    assert plan.recorded() == plan.summarised() == plan.measured("measures") == [a]
    assert plan.measured("cumulative_ablation") == [a, b]
    jobs = {stage.rule: stage.jobs for stage in estimate_plan(plan).stages}
    assert (jobs["record_activations"], jobs["class_statistics"], jobs["unit_measures"]) == (
        1,
        1,
        1,
    )
    assert (jobs["train"], jobs["cumulative_ablation"]) == (2, 2)


def test_components_alone__are_recorded_but_not_summarised():
    plan = make_plan(parse_config(values(a=CURVES_ALONE | {"principal_components": {}})))

    assert plan.recorded() == list(plan.runs)
    assert plan.summarised() == []


def test_kept_epochs__are_summarised_for_the_means_that_units_are_clamped_to():
    curve = {"cumulative_ablation": {"value": "mean", "checkpoints": True}}
    plan = make_plan(parse_config(values(a=curve)))
    (run,) = plan.runs

    assert plan.summarised() == plan.recorded() == [run, f"{run}/epoch-0001"]
    assert plan.measured("measures") == [run]


@pytest.mark.parametrize(
    "kept",
    [
        {"noise_robustness": {}},
        {"unit_ablation": {"value": "mean"}},
        {"cumulative_ablation": {"value": "mean"}},
        {"cumulative_ablation": {"by": ["variance"]}},
    ],
)
def test_measures__cannot_be_left_out_where_they_are_needed(kept):
    (name,) = kept

    with pytest.raises(ConfigError) as refused:
        parse_config(values(a=CURVES_ALONE | kept))
    assert str(refused.value).startswith(
        f"experiments.a.measurements: measures must not be null where {name} needs measures"
    )


def test_shared_network__recorded_for_one_experiment_alone_is_recorded_as_that_one_says():
    half = {"activations": {"dtype": "float16"}}
    plan = shared(CURVES_ALONE | {"activations": {"dtype": "float32"}}, half)
    (run,) = plan.runs.values()

    assert run.measurements.activations.dtype == "float16"
    assert plan.recorded() == [run.name]


@pytest.mark.parametrize("figure", ["selectivity_depth", "batch_norm_information"])
def test_figures__of_measures_need_them(figure):
    config = values(a=CURVES_ALONE)
    config["figures"] = {figure: ["a"]}

    with pytest.raises(ConfigError, match=rf"figures.{figure} needs measurements.measures, which"):
        parse_config(config)
