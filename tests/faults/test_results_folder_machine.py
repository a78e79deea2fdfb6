"""A results folder that is made, killed, damaged, and made from other settings and networks.

Whatever is read is a value of one of the workflows, or refused; and when the workflow has run to
its end, all is as its undisturbed run has it.
"""

import re
import shutil
from contextlib import chdir

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from faults.conftest import all_values
from faults.damage import DAMAGES, damage_file
from faults.faulted_stages import EFFECTS, complaints_about_end
from faults.injection import KILLED, Fault
from faults.stages import ALL, CONFIG, Workflow, run_stage

pytestmark = pytest.mark.slow

NETWORK = """
from torch import nn


def make():
    slope = nn.LeakyReLU({slope})
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), slope, nn.Linear(4, 10))
"""
COMMON = {
    "activations": {"batch_size": 32},
    "cumulative_ablation": None,
    "noise_robustness": None,
}
MEASUREMENTS = (
    {**COMMON, "unit_ablation": {"samples": 30}},
    {**COMMON, "unit_ablation": {"samples": 40}, "statistics": {"fine_bins": 64}},
)
# Number of the measurements, and the slope of the network's nonlinearity.
ASKED = ((0, 0.01), (1, 0.5), *(((0, 0.5), (1, 0.01)) if ALL else ()))
EXPERIMENT = {
    **CONFIG["experiments"]["memo"],
    "model": {"name": "tiny_networks:make"},
    "training": {"epochs": 1, "learning_rate": 0.05, "batch_size": 20},
    "sweep": {},
}
FEW = {"experiments": {"memo": EXPERIMENT}, "figures": {}, "paper": {}}
MOST_ROUNDS = 8


class Making:
    """A directory in which a workflow is brought up to date, as Snakemake does it.

    Parameters
    ----------
    server
        The server of processes.
    directory
        The directory.
    """

    def __init__(self, server, directory):
        self.server, self.directory = server, directory
        self.interrupted = set()
        directory.mkdir()

    def set_up(self, measurements, slope):
        """Write the user's network, and plan the workflow."""
        (self.directory / "tiny_networks.py").write_text(NETWORK.format(slope=slope))
        with chdir(self.directory):
            self.workflow = Workflow(MEASUREMENTS[measurements], **FEW)
            self.stages = self.workflow.stages()
        self.everything = [name for stage in self.stages for name in stage.outputs]

    def read(self):
        """Return what can be read, by its name."""
        call = "faults.readers:read_folder"
        done = self.server.call(self.directory, call, "results", self.everything)
        assert done.value is not None, done.text
        return done.value

    def bring_up_to_date(self):
        """Run what is missing or does not fit; what an error names is removed."""
        for _ in range(MOST_ROUNDS):
            problem = self._run_stages()
            if problem is None:
                return
            self.remove_named(problem)
        raise AssertionError(f"the remedy does not help: {problem}")

    def remove_named(self, line):
        """Remove the file that an error names; of a store, what says that it is recorded."""
        for name in re.findall(r"results(?:/[\w.=-]+)+", line):
            path = self.directory / name
            if path.suffix == ".zarr" and path.name == "activations.zarr":
                path = path.with_suffix(".json")
            while not path.exists() and path.name != "results":
                path = path.parent
            if path.is_file():
                path.unlink()
                return
        raise AssertionError(f"the error names nothing that can be removed: {line}")

    def _run_stages(self):
        with chdir(self.directory):
            self.workflow.write_plan(self.directory)
        stale = self.server.call(
            self.directory, "faults.stages:stale_files", self.workflow.config
        ).value
        rest = False
        for stage in self.stages:
            files = files_written(stage)
            missing = any(not (self.directory / name).exists() for name in files)
            unfit = stale.keys() & set(files)
            if not (rest or missing or unfit or stage in self.interrupted):
                continue
            rest = True
            done = run_stage(self.server, self.directory, stage)
            if done.status != 0:
                assert not complaints_about_end(done, Fault("read", 0, "fail")), done.text
                return done.text
            self.interrupted.discard(stage)
        return None


def files_written(stage):
    """Return the files that Snakemake expects of a stage."""
    if stage.name == "tabulate":
        return ["results/tables.json"]
    if stage.name == "prepare-dataset":
        return [f"results/{stage.outputs[0].rpartition('/')[0]}/dataset.json"]
    found = []
    for name in stage.outputs:
        if name.endswith("checkpoint"):
            found += [f"results/{name}.json", f"results/{name}.safetensors"]
        else:
            suffix = "json" if name.endswith("activations") else "nc"
            found.append(f"results/{name}.{suffix}")
    return found


class ResultsFolder(RuleBasedStateMachine):
    """The machine; `server`, `folder` and `values` are set by the test."""

    server = folder = values = None
    number = 0

    def __init__(self):
        super().__init__()
        type(self).number += 1
        self.making = Making(self.server, self.folder / str(self.number))
        self.asked = ASKED[0]
        self.making.set_up(*self.asked)

    def teardown(self):
        self.run_to_the_end()
        shutil.rmtree(self.making.directory)

    @rule()
    def run_to_the_end(self):
        self.making.bring_up_to_date()
        expected = self.values[self.asked]
        for _ in range(MOST_ROUNDS):
            read = self.making.read()
            refused = [text for name, (kind, text) in read.items() if kind == "refused"]
            refused = [text for text in refused if "there is no table" not in text]
            if not [name for name in expected if read[name][0] != "value"]:
                break
            self.making.remove_named(refused[0])
            self.making.bring_up_to_date()
        found = {name: text for name, (kind, text) in read.items() if kind == "value"}
        assert found == expected

    @rule(
        place=st.integers(0, 6),
        kind=st.sampled_from(sorted(EFFECTS)),
        number=st.integers(1, 60),
        choice=st.integers(0, 3),
    )
    def meet_a_fault(self, place, kind, number, choice):
        stage = self.making.stages[place % len(self.making.stages)]
        effect = EFFECTS[kind][choice % len(EFFECTS[kind])]
        fault = Fault(kind, number, effect)
        done = run_stage(self.making.server, self.making.directory, stage, fault=fault)
        assert not complaints_about_end(done, fault), f"{stage} {fault}: {done.text}"
        if done.status in (0, KILLED) or stage.declared:
            self.making.interrupted.add(stage)

    @rule(how=st.sampled_from(DAMAGES), random=st.randoms(use_true_random=False))
    def damage_a_file(self, how, random):
        files = sorted(
            path for path in self.making.directory.rglob("results/**/*") if path.is_file()
        )
        files = [path for path in files if path.suffix not in (".lock", ".parquet")]
        if files:
            path = random.choice(files)
            damage_file(
                path, how, random, [other for other in files if other.suffix == path.suffix]
            )

    @rule(asked=st.sampled_from(ASKED))
    def change_what_is_asked_for(self, asked):
        self.asked = asked
        self.making.set_up(*asked)

    @invariant()
    def what_is_read_is_right(self):
        for name, (kind, text) in self.making.read().items():
            assert kind != "crash", f"{name}: {text}"
            if kind == "value":
                allowed = {values.get(name) for values in self.values.values()}
                assert text in allowed, f"{name} is read as {text}"


@pytest.fixture(scope="module")
def values(server, tmp_path_factory):
    """Return what can be read of each undisturbed workflow."""
    found = {}
    for asked in ASKED:
        making = Making(server, tmp_path_factory.mktemp("undisturbed") / "made")
        making.set_up(*asked)
        making.bring_up_to_date()
        found[asked] = all_values(making.read())
    return found


def test_a_results_folder__holds_right_numbers_whatever_happens_to_it(server, values, tmp_path):
    ResultsFolder.server, ResultsFolder.folder, ResultsFolder.values = server, tmp_path, values
    run_state_machine_as_test(
        ResultsFolder,
        settings=settings(
            max_examples=100 if ALL else 1,
            stateful_step_count=12 if ALL else 6,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
