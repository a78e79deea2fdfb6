"""What the networks themselves refuse is refused before anything runs, and names the key."""

import sys

import pytest

from unitlens.config.reading import parse_config
from unitlens.errors import ConfigError
from unitlens.planning.network_checks import check_networks, without_user_code
from unitlens.planning.plan import make_plan


def plan(model, **measurements):
    family = {"dataset": {"name": "mnist5k"}, "model": model, "training": {"epochs": 1}}
    return make_plan(parse_config({"experiments": {"mine": family}, "measurements": measurements}))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"name": "resnet51"},
            "experiments.mine.model.name = 'resnet51' must be mlp, convnet, one of "
            "torchvision.models or 'module:function'; did you mean 'resnet50'",
        ),
        (
            {"name": "nowhere:build"},
            "experiments.mine.model.name = 'nowhere:build': module 'nowhere' cannot be found",
        ),
        (
            {"name": "resnet18", "weights": "nowhere.pt"},
            "experiments.mine.model.weights = 'nowhere.pt': must be an existing file or",
        ),
    ],
)
def test_check_networks__names_the_key_of_a_model(model, message):
    with pytest.raises(ConfigError) as refused:
        check_networks(plan(model))

    assert str(refused.value).startswith(message)


def test_check_networks__names_the_key_of_a_layer_and_the_nearest():
    ablation = {"layers": ["relu1", "relu_2"]}

    with pytest.raises(ConfigError, match=r"^measurements.unit_ablation.layers \(for mlp\): .*rel"):
        check_networks(plan({"name": "mlp"}, unit_ablation=ablation))


def test_check_networks__accepts_layers_that_exist():
    with_layers = plan({"name": "mlp"}, unit_ablation={"layers": ["relu2"]})

    assert check_networks(with_layers) == ()


def test_check_networks__names_the_layer_of_noise_that_is_not_recorded():
    with pytest.raises(
        ConfigError,
        match=r"^measurements.noise_robustness.layers \(for mlp\): layer 'dense1' is not recorded, "
        r"but .*; name it in measurements.activations.layers$",
    ):
        check_networks(plan({"name": "mlp"}, noise_robustness={"layers": ["dense1", "relu1"]}))

    layers = ["dense1", "relu1"]
    recorded = plan(
        {"name": "mlp"},
        activations={"layers": layers},
        noise_robustness={"layers": layers},
        cumulative_ablation={"layers": ["dense1"]},
    )
    assert check_networks(recorded) == ()


SPY = """
from pathlib import Path

Path("spied").touch()


def build(**_):
    from torch import nn

    Path("called").touch()
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))
"""


@pytest.fixture
def spy(tmp_path, monkeypatch):
    """Return the directory of a module that leaves a file when it is imported or called."""
    (tmp_path / "spying_module.py").write_text(SPY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "spying_module", raising=False)
    return tmp_path


def test_check_networks__runs_nothing_of_the_users_and_names_what_it_left(spy):
    mine = plan({"name": "spying_module:build"}, unit_ablation={"layers": ["nowhere"]})

    assert check_networks(mine, run_code=False) == ("experiments.mine.model",)
    assert [path.name for path in spy.iterdir()] == ["spying_module.py"]


def test_check_networks__runs_the_users_code_where_asked(spy):
    good, bad = (
        plan({"name": "spying_module:build"}, unit_ablation={"layers": [layer]})
        for layer in ("2", "nowhere")
    )

    assert check_networks(good, run_code=True) == ()
    assert (spy / "called").exists()
    with pytest.raises(ConfigError, match=r"unit_ablation.layers .*nowhere"):
        check_networks(bad, run_code=True)


def test_check_networks__looks_for_the_function_without_importing(spy):
    with pytest.raises(ConfigError, match=r"has no function 'built'; did you mean 'build'\?"):
        check_networks(plan({"name": "spying_module:built"}))

    assert not (spy / "spied").exists()


def test_without_user_code__leaves_the_networks_that_need_it(spy):
    family = {"model": {"name": "mlp"}, "training": {"epochs": 1}}
    experiments = {
        "built_in": {**family, "dataset": {"name": "mnist5k"}},
        "own_data": {**family, "dataset": {"name": "spying_module:build"}},
        "own_model": {"dataset": {"name": "mnist5k"}, "model": {"name": "spying_module:build"}},
    }

    left = without_user_code(make_plan(parse_config({"experiments": experiments})))

    assert [run.experiments for run in left.runs.values()] == [("built_in",)]
