"""Kept epochs are written as numbers, as series, or as both; whole ones stay as they were."""

import json

import pytest

from unitlens.config.looks import epoch_text, look_folder
from unitlens.config.networks import TrainingSpec
from unitlens.config.reading import parse_config
from unitlens.config.runs import expand_runs
from unitlens.planning.plan import make_plan

QUARTERS = (0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2)


def looks_of(written, epochs=9):
    return TrainingSpec(epochs=epochs, checkpoints=written).checkpoints


@pytest.mark.parametrize(
    ("written", "looks"),
    [
        ([], ()),
        ([0, 1, 4], (0, 1, 4)),
        ([4, 0, 1.0, 1], (0, 1, 4)),
        (["2", "0.5"], (0.5, 2)),
        ({"every": 0.25, "until": 2}, QUARTERS),
        ({"every": 0.25, "until": 2.2}, QUARTERS),
        ([{"every": 0.25, "until": 2}], QUARTERS),
        ([0, {"every": 0.25, "until": 2}, {"every": 1, "until": 4}, 8], (0, *QUARTERS, 3, 4, 8)),
        ({"every": 0.1, "until": 0.3}, (0.1, 0.2, 0.3)),
        ({"every": 3, "until": 9}, (3, 6, 9)),
        ([1 / 3], (0.333333,)),
    ],
)
def test_checkpoints__become_ascending_numbers(written, looks):
    read = looks_of(written)

    assert read == looks
    assert [type(look) for look in read] == [type(look) for look in looks]


@pytest.mark.parametrize("written", [[0, 1, 4], {"every": 0.25, "until": 2}])
def test_checkpoints__come_back_from_a_record(written):
    spec = TrainingSpec(epochs=9, checkpoints=written)

    again = TrainingSpec.model_validate_json(spec.model_dump_json())

    assert again == spec
    assert again.model_dump_json() == spec.model_dump_json()


def test_checkpoints__of_whole_epochs_are_written_as_before():
    written = json.loads(TrainingSpec(epochs=9, checkpoints=[0, 1, 4]).model_dump_json())

    assert json.dumps(written["checkpoints"]) == "[0, 1, 4]"


def test_experiments__that_share_a_network_join_their_looks():
    def family(checkpoints):
        return {
            "dataset": {"name": "mnist5k"},
            "model": {"name": "mlp"},
            "training": {"epochs": 5, "checkpoints": checkpoints},
        }

    config = parse_config(
        {"experiments": {"a": family([0, 1, 2]), "b": family({"every": 0.5, "until": 1})}}
    )
    (run,) = expand_runs(config).values()

    assert run.spec.training.checkpoints == (0, 0.5, 1, 2)
    assert make_plan(config).kept_epochs == [
        f"{run.name}/epoch-{look}" for look in ("0000", "0000.5", "0001", "0002")
    ]


def test_folders__of_looks_stand_in_the_order_of_training():
    looks = [0, 0.05, 0.25, 0.5, 1, 1.5, 2, 9.75, 10, 10.5, 100, 1000]
    folders = list(map(look_folder, looks))

    assert folders == sorted(folders)
    assert folders[:3] == ["epoch-0000", "epoch-0000.05", "epoch-0000.25"]
    assert folders[-2:] == ["epoch-0100", "epoch-1000"]
    assert [float(epoch_text(look)) for look in looks] == looks
