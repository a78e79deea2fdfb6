"""The n-th operation on a file fails, or is the last of the process; then the stage runs again."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faults.fork_server import HUNG
from faults.injection import KILLED, Fault
from faults.stages import ALL, OF_ALL, OF_NETWORK, run_stage

pytestmark = pytest.mark.slow

FIRST = ("prepare-dataset", "train", "record-activations", *OF_NETWORK, *OF_ALL)
PARTS = ("record-part", "merge-activations")
# A network and a data set of other settings have other folders.
ANEW = FIRST[2:]
EFFECTS = {
    "write": ("fail", "full", "stop", "power"),
    "create": ("fail", "full", "stop", "power"),
    "rename": ("fail", "stop", "power"),
    "remove": ("fail", "stop", "power"),
    "flush": ("fail", "stop", "power"),
    "read": ("fail",),  # a process that ends while it reads leaves what it had written before
}
# Cases of a stage. The last stages take seconds each, and their many operations are much alike.
SHARE = 400 if ALL else 2
SHARE_OF_LAST = 300 if ALL else 1
SHARE_OVER_FORMER = SHARE if ALL else 1


def all_faults(counts):
    """Return each fault that a stage can meet, by the operations that were counted."""
    return [
        Fault(kind, number, effect)
        for kind, total in sorted(counts.items())
        for number in range(1, total + 1)
        for effect in EFFECTS[kind]
    ]


class Case:
    """A stage that meets a fault.

    Parameters
    ----------
    server
        The server of processes.
    made
        The undisturbed workflow.
    stage
        The stage.
    directory
        Directory to work in.
    former
        What the directory held before, by its name; the stage replaces it.
    """

    def __init__(self, server, made, stage, directory, former=None):
        self._server, self._stage, self._directory = server, stage, directory
        self._before, self._values = made.before[stage], made.values
        self._former = former or {}

    def counts(self):
        """Return the operations of the undisturbed stage."""
        self._start()
        done = run_stage(self._server, self._directory, self._stage)
        assert done.status == 0, done.text
        return done.counts

    def complaints(self, fault):
        """Meet a fault, run the stage again, and return what is not as it must be."""
        self._start()
        done = run_stage(self._server, self._directory, self._stage, fault=fault)
        found = complaints_about_end(done, fault)
        between = self._read()
        found += self._complaints_about_values(between)
        again = run_stage(self._server, self._directory, self._stage)
        if again.status != 0:
            found.append(f"run again: status {again.status}: {again.text}")
        after = self._read()
        expected = {name: self._values.get(name) for name in self._stage.outputs}
        wrong = {
            name: value
            for name, value in after.items()
            if value != ["value", expected[name]] and expected[name] is not None
        }
        found += [f"after all, {name} is {value}" for name, value in wrong.items()]
        found += [f"left behind: {path}" for path in self._directory.rglob("*.partial")]
        return [f"{self._stage.name} {fault}: {line}" for line in found]

    def _start(self):
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.copytree(self._before, self._directory)

    def _read(self):
        names = list(self._stage.outputs)
        call = "faults.readers:read_folder"
        return self._server.call(self._directory, call, "results", names).value or {}

    def _complaints_about_values(self, read):
        found = []
        for name, (kind, text) in read.items():
            allowed = {self._values.get(name), self._former.get(name)}
            if kind == "crash" or (kind == "value" and text not in allowed):
                found.append(f"between, {name} is {kind} {text}")
            if kind == "refused" and len(text.splitlines()) != 1:
                found.append(f"between, {name} is refused in several lines: {text}")
        return found + self._complaints_about_mixture(read)

    def _complaints_about_mixture(self, read):
        """Return a complaint where the tables that can be read are not of one workflow."""
        tables = {
            name: text
            for name, (kind, text) in read.items()
            if kind == "value" and name.startswith("tables/")
        }
        for values in (self._values, self._former):
            if all(values.get(name) == text for name, text in tables.items()):
                return []
        return [f"between, the tables are of two workflows: {tables}"]


def complaints_about_end(done, fault):
    """Return what is wrong with the way in which a process with a fault ended."""
    if done.status == HUNG:
        return ["it hung"]
    if fault.effect in ("stop", "power"):
        return [] if done.status == KILLED or not done.fired else [f"status {done.status}"]
    if done.status == 0:
        return []  # the operation did not matter
    lines = done.text.strip().splitlines()
    if len(lines) != 1 or not lines[0].startswith("unitlens: ") or "unexpected" in lines[0]:
        return [f"status {done.status}: {done.text}"]
    return []


def run_cases(case, share):
    """Meet all faults, or a seeded share of them; fail with all complaints."""
    faults = all_faults(case.counts())
    if len(faults) > share:
        faults = random.Random(0).sample(faults, share)
    complaints = [line for fault in faults for line in case.complaints(fault)]
    assert not complaints, f"{len(complaints)} of {len(faults)} faults:\n" + "\n".join(complaints)


def stage_of(made, name):
    return next(stage for stage in made.before if stage.name == name)


@pytest.mark.parametrize("name", FIRST)
def test_a_stage_that_meets_a_fault__ends_in_the_undisturbed_values(
    server, undisturbed, tmp_path, name
):
    stage = stage_of(undisturbed, name)
    share = SHARE_OF_LAST if name in OF_ALL else SHARE
    run_cases(Case(server, undisturbed, stage, tmp_path / "case"), share)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_meets_a_fault__ends_in_the_undisturbed_values(
    server, in_parts, tmp_path, name
):
    run_cases(Case(server, in_parts, stage_of(in_parts, name), tmp_path / "case"), SHARE)


@pytest.mark.parametrize("name", ANEW)
def test_a_stage_over_former_results__is_read_as_before_or_as_after(
    server, undisturbed, measured_anew, tmp_path, name
):
    stage = stage_of(measured_anew, name)
    case = Case(server, measured_anew, stage, tmp_path / "case", undisturbed.values)
    run_cases(case, SHARE_OF_LAST if name in OF_ALL else SHARE_OVER_FORMER)


def test_the_layer__goes_under_a_process_by_its_environment(undisturbed, tmp_path):
    directory = tmp_path / "case"
    shutil.copytree(undisturbed.directory, directory)
    stage = stage_of(undisturbed, "unit-measures")
    written = directory / "results" / stage.network / "unit_measures.nc"
    written.unlink()
    environment = {
        **os.environ,
        "UNITLENS_FAULT": "rename:1:stop",
        "UNITLENS_FAULT_ROOT": "results",
        "UNITLENS_FAULT_REPORT": str(tmp_path / "report.json"),
        "PYTHONPATH": str(Path(__file__).parent / "hook"),
    }
    command = [sys.executable, "-m", "unitlens", *stage.arguments]

    done = subprocess.run(command, cwd=directory, env=environment, check=False)

    assert done.returncode == KILLED
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["rename"] == 1
    (partial,) = written.parent.glob("*.partial")
    assert partial.name.startswith("unit_measures.nc.")
    assert not written.exists()
