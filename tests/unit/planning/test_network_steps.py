"""The digest by which files tell the code of their step."""

from unitlens.config.reading import parse_config
from unitlens.hashed_files import write_hashed, write_json
from unitlens.planning import network_steps
from unitlens.planning.network_steps import expected_provenances
from unitlens.planning.plan import make_plan
from unitlens.planning.stale_files import stale_network_files
from unitlens.provenance.digests import code_digest
from unitlens.provenance.file_provenance import WEIGHTS, FileProvenance

EARLIER = "0123456789ab"


def test_earlier_code__of_equal_numbers_keeps_finished_files(tmp_path, monkeypatch):
    run = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "training": {"epochs": 2}}
    plan = make_plan(parse_config({"experiments": {"memo": run}}))
    ((_, files),) = expected_provenances(plan).items()
    write_json(tmp_path / "checkpoint.json", {"weights_hash": "w"})
    for name in ("unit_ablation.nc", "unit_measures.nc"):
        stated = FileProvenance(name[:-3], files[name].settings, EARLIER, {WEIGHTS: "w"})
        write_hashed(tmp_path / name, b"table", stated.to_values())

    monkeypatch.setattr(network_steps, "EARLIER_CODES", {})
    stale = stale_network_files(tmp_path, expected_provenances(plan).popitem()[1])
    assert set(stale) == {"unit_ablation.nc", "unit_measures.nc"}

    equal = {code_digest("unit_ablation"): EARLIER}
    monkeypatch.setattr(network_steps, "EARLIER_CODES", equal)
    stale = stale_network_files(tmp_path, expected_provenances(plan).popitem()[1])
    assert stale == {"unit_measures.nc": "the code of the step has changed"}
