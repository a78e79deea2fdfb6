"""Locations of stores: what cannot be used is refused before anything runs."""

import json
from pathlib import Path

import fsspec
import pytest

from unitlens.config.reading import parse_config
from unitlens.errors import ConfigError
from unitlens.planning.plan import make_plan
from unitlens.planning.store_locations import BESIDE, check_locations, stores_elsewhere

KEY = r"measurements\.activations\.location"


def plan_with(location, results="results", **measurements):
    """Return the plan of one network whose stores lie at a location."""
    activations = {} if location is None else {"location": str(location)}
    experiment = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp"},
        "training": {"epochs": 1},
    }
    return make_plan(
        parse_config(
            {
                "results": str(results),
                "experiments": {"memo": experiment},
                "measurements": {"activations": activations, **measurements},
            }
        )
    )


def refused(message, location, **options):
    with pytest.raises(ConfigError, match=message) as told:
        check_locations(plan_with(location), **options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("s4://bucket/acts", rf"^{KEY} = 's4://bucket/acts': .*fsspec must know its scheme"),
        ("s3:/bucket/acts", rf"^{KEY} = 's3:/bucket/acts': .*give the URL as text"),
        ("memory://acts", rf"^{KEY} = 'memory://acts' is memory of one process; name a URL"),
    ],
)
def test_check__refuses_a_place_that_is_none(location, message):
    refused(message, location)


def test_check__refuses_a_bucket_that_is_not_there(s3):
    refused(
        rf"^{KEY} = 's3://no-such/acts': the bucket no-such .* cannot be found", "s3://no-such/acts"
    )
    check_locations(plan_with(f"{s3}/acts"), stored=True, write=True)
    assert fsspec.filesystem("s3", skip_instance_cache=True).find(s3) == []


def test_check__refuses_a_bucket_without_rights(s3, monkeypatch):
    # From here on the server of the fixture asks for the rights of a known user.
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
    refused(rf"^{KEY} = '{s3}/acts': .*cannot be reached .*credentials", f"{s3}/acts", write=True)


def test_check__refuses_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "acts").write_text("")
    refused(rf"^{KEY} = .*acts'?: .*cannot be written", tmp_path / "acts", write=True)


def test_check__without_a_shared_disk_asks_for_a_place_that_all_jobs_reach(tmp_path):
    refused(rf"^{KEY} must be given: where files lie with a storage provider", None, stored=True)
    refused(rf"^{KEY} = 'acts' must not be a relative path", "acts", stored=True)
    check_locations(plan_with(tmp_path / "acts"), stored=True, write=True)
    assert list((tmp_path / "acts").iterdir()) == []
    check_locations(plan_with("acts"))
    check_locations(plan_with(None))


def test_check__asks_nothing_where_nothing_is_recorded():
    alone = dict.fromkeys(("measures", "unit_ablation", "noise_robustness"))
    check_locations(plan_with(None, **alone), stored=True)


def test_check__names_the_experiment_whose_location_it_is():
    config = plan_with(None).config.model_dump(mode="json", exclude_none=True)
    experiment = config["experiments"]["memo"]
    experiment["measurements"] = {"activations": {"location": "memory://acts"}}
    plan = make_plan(parse_config(config))

    with pytest.raises(ConfigError, match=r"^experiments\.memo\.measurements\.activations\.loc"):
        check_locations(plan)


def test_elsewhere__counts_networks_by_the_place_of_their_stores(tmp_path):
    (name,) = plan_with(None).runs
    manifest = tmp_path / "results" / name / "train/activations.json"

    def found(location):
        return stores_elsewhere(plan_with(location, tmp_path / "results"))

    assert found("s3://new/acts") == {}  # nothing is recorded
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"conditions": {}}))
    assert found("s3://new/acts") == {BESIDE: 1}
    manifest.write_text(
        json.dumps({"conditions": {"location": f"s3://old/acts/{name}/train-1.zarr"}})
    )
    assert found("s3://new/acts") == found(None) == {"s3://old/acts": 1}
    assert found("s3://old/acts") == found("s3://old/acts/") == {}
    manifest.write_text(
        json.dumps({"conditions": {"location": f"{Path('acts').absolute()}/{name}/t.zarr"}})
    )
    assert found("acts") == {}
