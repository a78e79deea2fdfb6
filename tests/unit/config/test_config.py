"""A configuration is refused in one line that names key, value, rule and nearest name."""

import copy
import json
from pathlib import Path

import pytest

from unitlens.catalogue.figures import FIGURES
from unitlens.config.experiments import Config, ExperimentSpec
from unitlens.config.key_reference import config_reference, config_schema
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec
from unitlens.config.reading import parse_config, parse_section, read_config
from unitlens.errors import ConfigError

ROOT = Path(__file__).parents[3]

TWO_CORE = (ROOT / "presets/mnist-2core.yaml",)
MINIMAL = {
    "experiments": {
        "memo": {
            "dataset": {"name": "mnist5k"},
            "model": {"name": "mlp", "widths": [32, 16]},
            "training": {"epochs": 5},
            "sweep": {"dataset.corruption": [0, 0.5]},
        }
    },
    "figures": {"memorisation_ablation": ["memo"]},
}


def changed(path, value):
    values = copy.deepcopy(MINIMAL)
    *parents, last = path.split("/")
    place = values
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return values


def test_parse_config__accepts_the_minimum():
    config = parse_config(MINIMAL)

    assert config.experiments["memo"].model.widths == (32, 16)
    assert config.measurements.unit_ablation.value == "zero"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "experiments/memo/dataset/corruption",
            1.2,
            "experiments.memo.dataset.corruption = 1.2: input should be less than or equal to 1",
        ),
        (
            "experiments/memo/dataset/name",
            "mnst",
            "experiments.memo.dataset.name = 'mnst': must be a known data set or "
            "'module:function'; did you mean 'mnist' or 'mnist5k'?",
        ),
        (
            "experiments/memo/dataset/corrupton",
            0.2,
            "experiments.memo.dataset.corrupton is not a key of the configuration: "
            "did you mean 'corruption'?",
        ),
        (
            "experiments/memo/model/width",
            [3],
            "experiments.memo.model.width is not a key of the configuration: "
            "did you mean 'widths'?",
        ),
        (
            "experiments/memo/model/widths",
            [3, -1],
            "experiments.memo.model.widths.1 = -1: input should be greater than 0",
        ),
        (
            "experiments/memo/training/epochs",
            0,
            "experiments.memo.training.epochs = 0: input should be greater than 0",
        ),
        (
            "experiments/memo/training/epochs",
            True,
            "experiments.memo.training.epochs = True: must not be a truth value",
        ),
        (
            "experiments/memo/training/epochs",
            "many",
            "experiments.memo.training.epochs = 'many': input should be a valid integer",
        ),
        (
            "experiments/memo/training/optimizer",
            "sdg",
            "experiments.memo.training.optimizer = 'sdg': must be one of sgd, adam, adamw; "
            "did you mean 'sgd'?",
        ),
        (
            "experiments/memo/training/schedule",
            {"name": "step"},
            "experiments.memo.training.schedule: milestones must be given for the step schedule",
        ),
        (
            "experiments/memo/training/checkpoints",
            [3, 9],
            "experiments.memo.training: checkpoints must not lie after the last epoch, but [9] do",
        ),
        (
            "experiments/memo/training/checkpoints",
            [0.5, -0.5],
            "experiments.memo.training.checkpoints.1 = -0.5: input should be greater than or equal",
        ),
        (
            "experiments/memo/training/checkpoints",
            [True],
            "experiments.memo.training.checkpoints.0 = True: must not be a truth value",
        ),
        (
            "experiments/memo/training/checkpoints",
            {"every": 0, "until": 2},
            "experiments.memo.training.checkpoints.every = 0: input should be greater than 0",
        ),
        (
            "experiments/memo/training/checkpoints",
            [0, {"evry": 0.25, "every": 1, "until": 2}],
            "experiments.memo.training.checkpoints.1.evry is not a key of the configuration: "
            "did you mean 'every'?",
        ),
        (
            "experiments/memo/training/checkpoints",
            {"every": 0.25, "until": 0.1},
            "experiments.memo.training.checkpoints: until (0.1) must not lie before the first",
        ),
        (
            "experiments/memo/training/checkpoints",
            {"every": 0.001, "until": 2},
            "experiments.memo.training.checkpoints: every = 0.001 and until = 2 ask for 2,000 kept "
            "networks, but a series has at most 1,000",
        ),
        (
            "experiments/memo/training/checkpoints",
            {"every": 2.5, "until": 20},
            "experiments.memo.training: checkpoints must not lie after the last epoch, but [",
        ),
        (
            "experiments/memo/sweep/dataset.corruption",
            [0, 1.2],
            "experiments.memo.dataset.corruption = 1.2: input should be less than or equal to 1",
        ),
        (
            "experiments/memo/sweep/dataset.corruptin",
            [0],
            "experiments.memo.dataset.corruptin is not a key of the configuration: "
            "did you mean 'corruption'?",
        ),
        (
            "experiments/memo/sweep/datset.corruption",
            [0],
            "experiments.memo.sweep names the key 'datset.corruption'",
        ),
        ("experiments/memo/seeds", [], "experiments.memo.seeds = []: tuple should have at least 1"),
        (
            "experiments/memo/training",
            None,
            "experiments.memo: training must be given where the model has no weights of its own",
        ),
        ("measurments", {}, "measurments is not a key of the configuration: did you mean"),
        (
            "measurements/unit_ablation/layer",
            [],
            "measurements.unit_ablation.layer is not a key of the configuration: "
            "did you mean 'layers'?",
        ),
        (
            "figures/memorisation_ablaton",
            ["memo"],
            "did you mean 'memorisation_ablation' or 'memorisation_noise'?",
        ),
        (
            "figures/memorisation_ablation",
            ["mem"],
            "figures.memorisation_ablation names the experiment 'mem', which does not exist; "
            "did you mean 'memo'?",
        ),
        (
            "paper/mnist_ablatoin",
            ["memo"],
            "did you mean 'mnist_ablation'",
        ),
        (
            "suspected_causes/mnist_ablation",
            {"mem": "too narrow"},
            "suspected_causes.mnist_ablation names the experiment 'mem', which does not exist",
        ),
        (
            "paper/mnist_ablation",
            ["mem"],
            "paper.mnist_ablation names the experiment 'mem', which does not exist; did you mean",
        ),
        (
            "paper/early_stopping",
            ["memo"],
            "paper.early_stopping needs measurements.cumulative_ablation.checkpoints: true for",
        ),
        (
            "only",
            ["mem"],
            "only names the experiment 'mem', which does not exist; did you mean 'memo'?",
        ),
        (
            "measurements/activations",
            {"layers": ["relu1"]},
            "measurements: activations.layers must have all layers of noise_robustness.layers: noi",
        ),
        (
            "measurements",
            {
                "activations": {"layers": ["relu1"]},
                "noise_robustness": {"layers": ["relu1", "relu2"]},
            },
            "measurements: activations.layers must have 'relu2' of noise_robustness.layers: noise",
        ),
        (
            "measurements",
            {
                "activations": {"layers": {"last": 1}},
                "noise_robustness": {"layers": {"last": 2}},
            },
            "measurements: activations.layers must have the last 2 layers of noise_robustness.laye",
        ),
        (
            "measurements",
            {
                "activations": {"layers": [{"name": "attn", "axis": -1, "heads": 4}]},
                "noise_robustness": {"layers": ["attn"]},
            },
            "measurements: activations.layers must have 'attn' with that axis and those heads of n",
        ),
        (
            "measurements",
            {
                "activations": {"layers": ["relu1"]},
                "noise_robustness": None,
                "unit_ablation": {"value": "mean"},
            },
            "measurements: activations.layers must have all layers of unit_ablation.layers: unit_a",
        ),
        (
            "measurements/activations",
            {"reduce": ["mean", "sum"]},
            "measurements.activations.reduce.1 = 'sum': must be one of mean, max, active",
        ),
        (
            "measurements/activations",
            {"reduce": ["mean", "mean"]},
            "measurements.activations: reduce must name each reduction once, but is ('mean', 'm",
        ),
        (
            "measurements/activations",
            {"codec": "zip"},
            "measurements.activations.codec = 'zip': must be one of lz4, lz4-bitshuffle, zstd",
        ),
        (
            "measurements",
            {"activations": {"reduce": ["max", "mean"]}, "unit_ablation": {"value": "mean"}},
            "measurements: activations.reduce must be mean where unit_ablation.value is mean",
        ),
        (
            "measurements",
            {"activations": {"reduce": "max"}, "unit_ablation": {"value": "mean"}},
            "measurements: activations.reduce must be mean where unit_ablation.value is mean",
        ),
        (
            "experiments/memo/model/widths",
            [],
            "experiments.memo.model.widths = []: tuple should have at least 1 item",
        ),
        (
            "experiments/memo/sweep/dataset.corruption",
            [],
            "experiments.memo.sweep.dataset.corruption = []: tuple should have at least 1 item",
        ),
        (
            "experiments/memo/sweep/dataset.name.size",
            [1],
            "experiments.memo.sweep names the key 'dataset.name.size', but 'name' is a value",
        ),
        (
            "figures/memorisation_ablation",
            [],
            "figures.memorisation_ablation = []: tuple should have at least 1 item",
        ),
        (
            "measurements/cumulative_ablation",
            None,
            "figures.memorisation_ablation needs measurements.cumulative_ablation, which is null",
        ),
        (
            "figures/auc_over_training",
            ["memo"],
            "figures.auc_over_training needs measurements.cumulative_ablation.checkpoints: true",
        ),
        (
            "figures/selectivity_over_training",
            ["memo"],
            "figures.selectivity_over_training needs measurements.measures.checkpoints: true",
        ),
        (
            "figures/measure_orders",
            ["memo"],
            "figures.measure_orders needs more in measurements.cumulative_ablation.by of the",
        ),
        (
            "figures/clamping",
            ["memo"],
            "figures.clamping needs more in measurements.cumulative_ablation.also of the "
            "experiment 'memo'; list another value",
        ),
        (
            "figures/bases",
            ["memo"],
            "figures.bases needs more in measurements.cumulative_ablation.also of the "
            "experiment 'memo'; list another basis",
        ),
        (
            "measurements/cumulative_ablation",
            {"basis": "random", "by": ["mean"]},
            "measurements.cumulative_ablation: by must be empty where basis is random",
        ),
        (
            "measurements/cumulative_ablation",
            {"basis": "principal_components"},
            "measurements: principal_components must not be null where cumulative_ablation.basis",
        ),
        (
            "measurements",
            {
                "principal_components": {},
                "cumulative_ablation": {"basis": "principal_components", "checkpoints": True},
            },
            "measurements: principal_components.checkpoints must be true where",
        ),
        (
            "measurements",
            {
                "activations": {"layers": ["relu1"]},
                "noise_robustness": None,
                "principal_components": {},
                "cumulative_ablation": {"basis": "principal_components", "layers": ["relu2"]},
            },
            "measurements: activations.layers must have 'relu2' of cumulative_ablation.layers",
        ),
        (
            "measurements/cumulative_ablation",
            {"also": [{"basis": "random"}, {"value": "zero", "basis": "random"}]},
            "measurements.cumulative_ablation: also must name each variant once, and not the main "
            "one, but value zero with basis random is named again",
        ),
        (
            "measurements/cumulative_ablation",
            {"also": [{}]},
            "not the main one, but value zero with basis units is named again",
        ),
        (
            "measurements/cumulative_ablation",
            {"also": [{"base": "random"}]},
            "measurements.cumulative_ablation.also.0.base is not a key of the configuration",
        ),
        (
            "measurements",
            {
                "activations": {"reduce": "max"},
                "cumulative_ablation": {"also": [{"value": "mean"}]},
            },
            "measurements: activations.reduce must be mean where cumulative_ablation.value is mean",
        ),
        (
            "measurements/cumulative_ablation",
            {"also": [{"basis": "principal_components"}]},
            "measurements: principal_components must not be null where cumulative_ablation.basis",
        ),
        (
            "measurements",
            {
                "principal_components": {"components": 5},
                "cumulative_ablation": {"also": [{"basis": "principal_components"}]},
            },
            "measurements: principal_components.components must be null where",
        ),
        (
            "measurements",
            {
                "activations": {"layers": ["relu1"]},
                "noise_robustness": None,
                "principal_components": {},
                "cumulative_ablation": {"also": [{"basis": "principal_components"}]},
            },
            "measurements: cumulative_ablation.layers must be given where activations.layers is",
        ),
        (
            "measurements/cumulative_ablation",
            {"basis": "pca"},
            "measurements.cumulative_ablation.basis = 'pca'",
        ),
        (
            "experiments/memo/dataset",
            {"name": "mnist5k", "image_size": 32},
            "experiments.memo.dataset: image_size is for image_folder and imagenet only, not for",
        ),
        ("experiments", {}, "experiments: dictionary should have at least 1 item"),
    ],
)
def test_parse_config__refuses_in_one_line(path, value, message):
    with pytest.raises(ConfigError) as refused:
        parse_config(changed(path, value))

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("widts", "experiments.mlp.model.widts is not a key of the configuration: did you mean 'w"),
        ("layer", "experiments.mlp.model.layer is not a key of the configuration: known: name, "),
    ],
)
def test_parse_config__names_an_experiment_that_is_called_as_a_model_is(key, message):
    family = copy.deepcopy(MINIMAL["experiments"]["memo"])
    family["model"][key] = 3

    with pytest.raises(ConfigError) as refused:
        parse_config({"experiments": {"mlp": family}})

    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("value", ["position_mean", "class_mean", "resample"])
def test_parse_config__takes_values_that_need_no_recorded_means(value):
    sections = {"activations": {"reduce": "max"}, "unit_ablation": {"value": value}}

    measurements = parse_config(changed("measurements", sections)).measurements

    assert measurements.unit_ablation.value == value


def test_read_config__names_a_file_that_is_not_a_mapping(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")

    with pytest.raises(ConfigError, match=r"list\.yaml must be a mapping of keys to values"):
        read_config(path)


def test_parse_section__names_text_that_is_not_json():
    with pytest.raises(ConfigError, match=r"DatasetSpec must be JSON, but '{name' is not"):
        parse_section(DatasetSpec, "{name")


def test_parse_section__inverts_the_dump():
    section = parse_config(MINIMAL).experiments["memo"]

    assert parse_section(ExperimentSpec, section.model_dump_json()) == section


@pytest.mark.parametrize("path", [ROOT / "config.yaml", *sorted((ROOT / "presets").glob("*.yaml"))])
def test_shipped_configurations__hold(path):
    base = path.with_name(path.name.replace("-2core", ""))  # a sibling overrides its preset

    assert isinstance(read_config(*dict.fromkeys((base, path))), Config)


def test_read_config__overrides_what_the_second_file_names():
    preset, sibling = (read_config(ROOT / "presets/mnist.yaml", *more) for more in ((), TWO_CORE))

    assert preset.experiments["memorisation"].training.epochs == 640
    assert sibling.experiments["memorisation"].training.epochs == 80
    assert sibling.experiments["memorisation"].training.momentum == 0.9
    assert sibling.experiments["memorisation"].seeds == (1,)


def test_paper__needs_what_its_results_are_measured_by():
    values = changed("experiments/memo/measurements", {"unit_ablation": None})

    for section, named in (("paper", ["memo"]), ("suspected_causes", {"memo": "too narrow"})):
        with pytest.raises(
            ConfigError, match=rf"{section}\.mnist_importance needs measurements\.unit_ablation"
        ):
            parse_config({**values, section: {"mnist_importance": named}})


def test_only__leaves_some_experiments_and_what_shows_them():
    values = changed("experiments/other", MINIMAL["experiments"]["memo"])
    values["figures"] = {"memorisation_ablation": ["memo", "other"], "selectivity_depth": ["other"]}
    values["paper"] = {"mnist_ablation": ["other", "memo"], "mnist_noise": ["other"]}
    values["suspected_causes"] = {"mnist_noise": {"memo": "width", "other": "epochs"}}

    config = parse_config({**values, "only": ["memo"]})

    assert list(config.experiments) == ["memo"]
    assert config.figures == {"memorisation_ablation": ("memo",)}
    assert config.paper == {"mnist_ablation": ("memo",)}
    assert config.suspected_causes == {"mnist_noise": {"memo": "width"}}
    assert parse_config(values).paper["mnist_noise"] == ("other",)


# What these show takes more networks, or more measurements, than an experiment of minutes has.
LARGER = {
    "same_data_auc",
    "same_data_curves",
    "hyperparameter_selection",
    "clamping",
    "bases",
    "measure_orders",
    "regulariser",
    "selectivity_over_training",
}


def test_default_configuration__draws_every_figure_that_it_has_networks_for():
    assert set(read_config(ROOT / "config.yaml").figures) == set(FIGURES) - LARGER


def test_schema__is_generated_from_the_models():
    shipped = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())

    assert shipped == config_schema(), "run: python -m unitlens schema > workflow/schemas/..."


def test_reference__is_generated_from_the_models():
    shipped = (ROOT / "docs/config.md").read_text()

    assert shipped == config_reference() + "\n", "run: python -m unitlens schema --markdown"


def test_parse_config__takes_few_components_where_all_curves_are_along_them():
    curve = {"basis": "principal_components", "also": [{"value": "mean"}]}
    sections = {"principal_components": {"components": 5}, "cumulative_ablation": curve}

    measurements = parse_config(changed("measurements", sections)).measurements

    assert measurements.cumulative_ablation.variants == (
        ("zero", "principal_components"),
        ("mean", "principal_components"),
    )


@pytest.mark.parametrize(
    ("recorded", "noisy"),
    [
        (["relu1", "relu2"], ["relu2"]),
        (["relu*"], ["relu2"]),
        ({"last": 2}, {"last": 1}),
        ({"last": 2}, ["relu2"]),
        ([{"name": "attn", "heads": 4}], [{"name": "attn", "heads": 4}]),
        (None, ["relu2"]),
        (None, None),
    ],
)
def test_noise__on_recorded_layers(recorded, noisy):
    measurements = MeasurementSpec.model_validate(
        {"activations": {"layers": recorded}, "noise_robustness": {"layers": noisy}}
    )
    noise = measurements.noise_robustness
    assert noise.arguments()["layers"] == noise.layers
    assert ("layers" in noise.content()) is (noisy is not None)  # results of before stay
