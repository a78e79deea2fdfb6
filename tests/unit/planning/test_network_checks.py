"""What the networks themselves refuse is refused before anything runs, and names the key."""

import pytest

from unitlens.config.reading import parse_config
from unitlens.errors import ConfigError
from unitlens.planning.network_checks import check_networks
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
            "experiments.mine.model.name = 'nowhere:build': module 'nowhere' cannot be imported",
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

    assert check_networks(with_layers) is None
