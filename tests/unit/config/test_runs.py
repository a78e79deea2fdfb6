"""Sweeps expand to runs; a run's name holds its identity; shared networks stand once."""

import copy

import pytest

from unitlens.config.reading import parse_config
from unitlens.config.runs import expand_runs, run_identity
from unitlens.planning.plan import make_plan

FAMILY = {
    "dataset": {"name": "mnist5k"},
    "model": {"name": "mlp"},
    "training": {"epochs": 5},
    "sweep": {"dataset.corruption": [0, 0.5], "model.dropout": [0, 0.2]},
    "seeds": [1, 2],
}


def runs_of(**families):
    return expand_runs(parse_config({"experiments": families}))


def family(**changes):
    return {**copy.deepcopy(FAMILY), **changes}


def test_expand_runs__takes_all_combinations_and_seeds():
    specs = [run.spec for run in runs_of(one=FAMILY).values()]

    got = [(spec.dataset.corruption, spec.model.dropout, spec.seed) for spec in specs]
    assert got == [(c, d, s) for c in (0, 0.5) for d in (0, 0.2) for s in (1, 2)]


def test_expand_runs__shares_the_network_that_two_experiments_need():
    runs = runs_of(one=FAMILY, two=family(sweep={"dataset.corruption": [0.5, 1]}))

    shared = [run for run in runs.values() if run.experiments == ("one", "two")]
    assert {run.spec.dataset.corruption for run in shared} == {0.5}
    assert len(shared) == 2
    assert len(runs) == 10


def test_expand_runs__joins_the_epochs_that_two_experiments_want_kept():
    sweepless = {"sweep": {}, "seeds": [1]}
    runs = runs_of(
        one=family(**sweepless, training={"epochs": 5, "checkpoints": [1, 3]}),
        two=family(**sweepless, training={"epochs": 5, "checkpoints": [2, 3]}),
    )

    (run,) = runs.values()
    assert run.spec.training.checkpoints == (1, 2, 3)


def test_run_name__is_readable_and_ends_in_the_identity():
    names = list(runs_of(one=FAMILY))

    assert names[0].startswith("mnist5k-mlp-seed1-")
    assert names[-1].startswith("mnist5k-mlp-corrupt0.5-dropout0.2-seed2-")
    assert len({name.rsplit("-", 1)[1] for name in names}) == len(names)


def test_run_name__shows_each_swept_value():
    sweep = {
        "training.learning_rate": [0.1, "1e-3"],
        "training.batch_size": [64],
        "training.schedule": [{"name": "cosine"}],
        "model.widths": [[64, 32]],
        "dataset.corruption": [0.5],
    }

    names = [name.rsplit("-", 1)[0] for name in runs_of(one=family(sweep=sweep, seeds=[1]))]

    marks = "batch64-schedulecosine-widths64x32-seed1"
    assert names[0] == f"mnist5k-mlp-corrupt0.5-lr0.1-{marks}"
    assert names[1] == f"mnist5k-mlp-corrupt0.5-lr0.001-{marks}"


def test_run_name__of_long_values_can_name_a_file():
    sweep = {"model": [{"name": "mlp", "widths": list(range(1, 200))}], "training.epochs": [7]}

    (name,) = runs_of(one=family(sweep=sweep, seeds=[1]))

    assert len(name) < 150
    assert "epochs7" in name


def test_run_name__of_two_experiments_is_that_of_the_first():
    swept = family(sweep={"training.learning_rate": [0.1, 0.2]}, seeds=[1])
    plain = family(sweep={}, seeds=[1], training={"epochs": 5, "learning_rate": 0.2})

    first = list(runs_of(one=swept, two=plain))
    second = list(runs_of(two=plain, one=swept))

    assert [len(first), len(second)] == [2, 2]
    assert "lr0.2" in first[1]
    assert "lr" not in second[0]
    assert first[1][-12:] == second[0][-12:]


def test_plan__keeps_the_names_of_folders_that_are_there(tmp_path):
    def names(**changes):
        values = {"results": str(tmp_path), "experiments": {"one": family(seeds=[1], **changes)}}
        return list(make_plan(parse_config(values)).runs)

    (former,) = names(sweep={}, training={"epochs": 5, "learning_rate": 0.2})
    (tmp_path / former).mkdir()

    swept = names(sweep={"training.learning_rate": [0.1, 0.2]})

    assert swept[1] == former
    assert "lr0.1" in swept[0]


def test_plan__names_a_network_so_that_its_folder_of_six_digits_is_adopted(tmp_path):
    sweep = {"training.learning_rate": [0.2]}
    values = {"results": str(tmp_path), "experiments": {"one": family(seeds=[1], sweep=sweep)}}
    (planned,) = make_plan(parse_config(values)).runs
    (tmp_path / f"mnist5k-mlp-seed1-{planned[-12:-6]}").mkdir()

    (found,) = make_plan(parse_config(values)).runs

    assert planned.startswith("mnist5k-mlp-lr0.2-seed1-")
    assert found == f"mnist5k-mlp-seed1-{planned[-12:]}"


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": {"name": "mnist5k", "corruption": 0.5}},
        {"model": {"name": "mlp", "widths": [512]}},
        {"training": {"epochs": 6}},
        {"seeds": [3]},
    ],
)
def test_run_identity__changes_with_what_determines_the_weights(change):
    plain = {"sweep": {}, "seeds": [1]}
    (one,) = runs_of(one=family(**plain)).values()
    (two,) = runs_of(one=family(**{**plain, **change})).values()

    assert run_identity(one.spec) != run_identity(two.spec)


def test_run_identity__ignores_what_is_kept_and_defaults_that_are_written_out():
    plain = {"sweep": {}, "seeds": [1]}
    (one,) = runs_of(one=family(**plain)).values()
    (two,) = runs_of(
        one=family(**plain, training={"epochs": 5, "momentum": 0.9, "checkpoints": [2]})
    ).values()

    assert run_identity(one.spec) == run_identity(two.spec)


def test_plan__measures_kept_epochs_where_asked():
    values = {
        "experiments": {
            "one": family(sweep={}, seeds=[1], training={"epochs": 5, "checkpoints": [0, 3]})
        },
        "measurements": {
            "unit_ablation": None,
            "cumulative_ablation": {"checkpoints": True},
        },
    }
    plan = make_plan(parse_config(values))
    (run,) = plan.runs

    assert plan.measured("unit_ablation") == []
    assert plan.measured("noise_robustness") == [run]
    assert plan.measured("cumulative_ablation") == [
        run,
        f"{run}/epoch-0000",
        f"{run}/epoch-0003",
    ]
    assert plan.measured_kept_epochs() == [f"{run}/epoch-0000", f"{run}/epoch-0003"]
    assert plan.run_of(f"{run}/epoch-0003").name == run
