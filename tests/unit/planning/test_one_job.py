"""Which networks one job measures, and what that job is told."""

from pathlib import Path
from typing import Any

import pytest

from unitlens.config.reading import parse_config
from unitlens.planning.network_steps import NETWORK_STEPS, expected_provenances
from unitlens.planning.one_job import STEPS_OF_ONE_JOB, networks_of_one_job, steps_values
from unitlens.planning.plan import Plan, make_plan
from unitlens.provenance.file_provenance import FileProvenance


def planned(results: str = "nowhere", **measurements: Any) -> Plan:
    """Return the plan of one small network on scikit-learn's digits."""
    family = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "widths": [16, 8]},
        "training": {"epochs": 1, "checkpoints": [0]},
        "seeds": [1],
    }
    values = {"experiments": {"digits": family}, "measurements": measurements, "results": results}
    return make_plan(parse_config(values))


def test_small_network__is_measured_by_one_job() -> None:
    plan = planned()
    assert networks_of_one_job(plan) == list(plan.runs)


@pytest.mark.parametrize(
    "measurements",
    [
        {"principal_components": {}},
        {"unit_ablation": None},
        {"activations": {"parts": 2}},
        {"cumulative_ablation": {"parts": 3}},
        {"noise_robustness": {"draws": 1_000_000_000}},
    ],
    ids=["components", "no ablation", "parts of recording", "parts of curves", "long"],
)
def test_network__has_a_job_for_each_step_where(measurements: dict[str, Any]) -> None:
    assert networks_of_one_job(planned(**measurements)) == []


def test_users_network__is_not_built_to_estimate_it() -> None:
    plan = planned()
    (run,) = plan.runs.values()
    run.spec.model.__dict__["name"] = "missing_module:build"

    assert networks_of_one_job(plan) == []


def test_finished_network__keeps_the_rule_that_made_it(tmp_path: Path) -> None:
    """Also where its steps would now be judged long: no file of it is to be made."""
    plan = planned(str(tmp_path), noise_robustness={"draws": 1_000_000_000})
    (network,) = plan.runs
    (dataset,) = plan.datasets
    files = [f"{network}/{file}" for step in STEPS_OF_ONE_JOB for file in NETWORK_STEPS[step].files]
    for name in (f"datasets/{dataset}/dataset.json", f"{network}/checkpoint.json", *files):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    log = tmp_path / f"logs/measure_network/{network}.log"

    assert networks_of_one_job(plan) == []
    log.parent.mkdir(parents=True)
    log.touch()
    assert networks_of_one_job(plan) == [network]
    stale = f"{tmp_path}/{network}/unit_ablation.nc"
    assert networks_of_one_job(plan, {stale}) == []


def test_job__is_told_the_provenance_that_the_plan_expects() -> None:
    plan = planned()
    (network,) = plan.runs
    expected = expected_provenances(plan)[network]

    told = steps_values(plan, network)

    assert list(told) == list(STEPS_OF_ONE_JOB)
    for step, values in told.items():
        provenance = FileProvenance(step, values["settings"], values["code"])
        assert all(expected[file] == provenance for file in NETWORK_STEPS[step].files)
