"""Files that code of an earlier version has made stay where they are as good as those of now."""

import json
from dataclasses import replace

import pytest

from unitlens.hashed_files import write_hashed
from unitlens.planning.network_steps import present_codes, step_code
from unitlens.provenance.earlier_code import EARLIER_CODE
from unitlens.provenance.file_provenance import WEIGHTS, FileProvenance
from unitlens.provenance.misfits import STORE_FILES, find_misfits

STEP = "record_activations"
OF_NOW = FileProvenance(STEP, {"reduce": ["mean"]}, step_code(STEP))
CHANGED = "the code of the step has changed"


def misfits_of(directory, code):
    """Return the misfits where the files of a recording state a digest of their code."""
    (directory / "train").mkdir(exist_ok=True)
    (directory / "checkpoint.json").write_text(json.dumps({"weights_hash": "w"}))
    stated = {"settings": OF_NOW.settings, "code": code, "weights_hash": "w"}
    (directory / STORE_FILES[0]).write_text(json.dumps({"provenance": stated}))
    table = replace(OF_NOW, code=code, inputs={WEIGHTS: "w"})
    write_hashed(directory / "l1_norm.nc", b"table", table.to_values())
    return find_misfits(directory, dict.fromkeys((STORE_FILES[0], "l1_norm.nc"), OF_NOW))


@pytest.mark.parametrize("code", [OF_NOW.code, *EARLIER_CODE[STEP]])
def test_recording__by_code_that_is_as_good_stays(tmp_path, code):
    assert misfits_of(tmp_path, code) == {}


@pytest.mark.parametrize("code", ["0123456789ab", ""])
def test_recording__by_any_other_code_is_made_again(tmp_path, code):
    assert misfits_of(tmp_path, code) == {STORE_FILES[0]: CHANGED, "l1_norm.nc": CHANGED}


def test_earlier_code__of_one_step_is_no_code_of_another():
    (earlier, *_) = EARLIER_CODE[STEP]
    other = FileProvenance("unit_ablation", {}, earlier)

    assert other.find_difference(replace(other, code="1f")) == CHANGED


def test_present_codes__are_of_the_steps_of_now():
    assert present_codes() == {
        earlier: step_code(step) for step, digests in EARLIER_CODE.items() for earlier in digests
    }
    assert not present_codes().keys() & set(present_codes().values())
