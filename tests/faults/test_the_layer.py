"""The layer of faults counts the operations of a process, and ends it where it is told to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.injection import KILLED
from faults.stages import Workflow

pytestmark = pytest.mark.slow


def test_the_layer__goes_under_a_process_by_its_environment(tmp_path):
    stage = next(stage for stage in Workflow().stages() if stage.name == "prepare-dataset")
    (tmp_path / "results").mkdir()
    environment = {
        **os.environ,
        "UNITLENS_FAULT": "rename:1:stop",
        "UNITLENS_FAULT_ROOT": "results",
        "UNITLENS_FAULT_REPORT": str(tmp_path / "report.json"),
        "PYTHONPATH": str(Path(__file__).parent / "hook"),
    }
    command = [sys.executable, "-m", "unitlens", *stage.arguments]

    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False)

    assert done.returncode == KILLED
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"]["rename"] == 1
    assert report["fired"]
    (partial,) = tmp_path.rglob("*.partial")
    assert partial.stat().st_size > 0
    assert not list(tmp_path.rglob("dataset.json"))
