"""What does not fit in a storage is found by what its files state, from any machine."""

import json
import shutil
from dataclasses import replace

import pytest

from unitlens.config.reading import parse_config
from unitlens.hashed_files import write_hashed, write_json
from unitlens.planning.network_steps import expected_provenances, step_code
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_file import plan_values
from unitlens.planning.stored_files import find_stale_in_storage
from unitlens.provenance.file_provenance import WEIGHTS
from unitlens.provenance.misfits import STORE_FILES


def plan_of(bins=None, **sections):
    run = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "training": {"epochs": 2}}
    run["training"]["checkpoints"] = [1]
    measurements = {"measures": {"bins": bins}, "noise_robustness": None, **sections}
    return make_plan(parse_config({"experiments": {"memo": run}, "measurements": measurements}))


def write_values(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


@pytest.fixture
def storage(tmp_path):
    """Return a storage of files that fit the plan: each states step, settings, code and weights."""
    plan, root = plan_of(), tmp_path / "storage"
    for network, files in expected_provenances(plan).items():
        record = {"weights_hash": "w", "origin_parts": {"code": step_code("train")}}
        write_values(root / network / "checkpoint.json", record)
        for name, provenance in files.items():
            if name not in STORE_FILES:
                (root / network / name).parent.mkdir(parents=True, exist_ok=True)
                stated = replace(provenance, inputs={WEIGHTS: "w"})
                write_hashed(root / network / name, b"table", stated.to_values())
    for name in plan.datasets:
        record = {"code": step_code("prepare_dataset"), "user_code": ""}
        write_values(root / f"datasets/{name}/dataset.json", record)
    write_json(root / "plan.json", plan_values(plan))
    return root


class Fetching:
    """Copies files out of a storage, and notes which."""

    def __init__(self, storage):
        self._storage, self.asked = storage, []

    def __call__(self, names, folder):
        self.asked += names
        for name in names:
            if (self._storage / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self._storage / name, folder / name)


def test_stale__is_nothing_where_all_fits_and_only_records_are_fetched(storage):
    fetch, plan = Fetching(storage), plan_of()
    (run,), (dataset,) = plan.runs, plan.datasets

    assert find_stale_in_storage(plan, fetch) == {}
    records = {"plan.json", f"{run}/checkpoint.json", f"datasets/{dataset}/dataset.json"}
    assert set(fetch.asked) == records


def test_stale__is_nothing_in_an_empty_storage(tmp_path):
    assert find_stale_in_storage(plan_of(), Fetching(tmp_path / "storage")) == {}


def test_stale__are_files_of_other_settings(storage):
    plan = plan_of(bins=5)
    (run,) = plan.runs

    stale = find_stale_in_storage(plan, Fetching(storage))

    assert set(stale) == {"plan.json", f"{run}/unit_measures.nc"}
    assert "bins" in stale[f"{run}/unit_measures.nc"]


@pytest.mark.parametrize("step", ["train", "prepare_dataset"])
def test_stale__is_what_other_code_has_made(storage, step):
    plan = plan_of()
    (run,), (dataset,) = plan.runs, plan.datasets
    record = f"datasets/{dataset}/dataset.json"
    path = {"train": f"{run}/checkpoint.json", "prepare_dataset": record}[step]
    text = (storage / path).read_text()
    (storage / path).write_text(text.replace(step_code(step), "0123456789ab"))

    (stale,) = find_stale_in_storage(plan, Fetching(storage)).items()

    assert stale == (path, f"the code of {step.replace('_', ' ')} has changed")


def test_stale__is_a_table_of_other_weights_where_the_plan_has_changed(storage):
    plan = plan_of(cumulative_ablation=None)
    (run,) = plan.runs
    write_values(storage / run / "checkpoint.json", {"weights_hash": "other"})

    stale = find_stale_in_storage(plan, Fetching(storage))

    assert f"{run}/unit_ablation.nc" in stale
    assert f"{run}/unit_measures.nc" in stale
