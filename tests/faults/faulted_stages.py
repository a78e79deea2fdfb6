"""A stage in which the n-th operation on a file goes wrong, and what comes after it.

What comes after depends on nothing but the results folder that the fault leaves. Where two faults
leave the same folder, readers and the second run are tried once.
"""

import random
from dataclasses import dataclass

from faults.fork_server import HUNG
from faults.injection import KILLED, Fault
from faults.stages import run_stage
from faults.tree_states import StateReader, partial_files, restore

WRITING = {
    "write": ("fail", "stop", "full", "power"),
    "create": ("fail", "stop", "full", "power"),
    "rename": ("fail", "stop", "power"),
    "remove": ("fail", "stop", "power"),
    "flush": ("fail", "stop", "power"),
}
READING = {"read": ("fail", "stop")}
EFFECTS = {**WRITING, **READING}
MOST_LINES = 40  # of complaints that are shown


@dataclass
class Met:
    """What faults in a stage came to.

    Attributes
    ----------
    operations
        Number of operations on files of the undisturbed stage.
    faults
        Number of faults that were met.
    states
        Number of different results folders that they left.
    complaints
        What is not as it must be.
    """

    operations: int
    faults: int
    states: int
    complaints: list

    def account(self, name):
        """Return the row of the account."""
        row = {"operations": self.operations, "faults": self.faults, "states": self.states}
        return {"table": "faults", "of": name, **row, "complaints": len(self.complaints)}

    def __str__(self):
        shown = self.complaints[:MOST_LINES]
        return "\n".join([f"{len(self.complaints)} complaints, {self.faults} faults:", *shown])


class Case:
    """A stage that meets faults, one after another.

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
        self._states = StateReader()
        self._read_of_state, self._rest_of_state = {}, {}

    def meet(self, kinds, share=None, seed=0):
        """Meet each fault of some kinds, or a seeded share of them.

        Parameters
        ----------
        kinds
            Kinds of operations to their effects.
        share
            Number of faults at most; every fault if None.
        seed
            Seed of the share.

        Returns
        -------
        What it came to.
        """
        pristine = self._states.digest(self._before)
        counts = self._count()
        faults = all_faults(counts, kinds)
        if share is not None and len(faults) > share:
            faults = random.Random(seed).sample(faults, share)
        complaints = [line for fault in faults for line in self._complaints(fault)]
        assert self._states.digest(self._before) == pristine, "a stage wrote into a shared file"
        operations = sum(counts[kind] for kind in kinds if kind in counts)
        return Met(operations, len(faults), len(self._rest_of_state), complaints)

    def _count(self):
        self._start()
        done = run_stage(self._server, self._directory, self._stage)
        assert done.status == 0, done.text
        assert self._complaints_about_values(self._read()) == []
        return done.counts

    def _complaints(self, fault):
        self._start()
        done = run_stage(self._server, self._directory, self._stage, fault=fault)
        found = complaints_about_end(done, fault)
        state = self._states.digest(self._directory / "results")
        if state not in self._rest_of_state:
            self._rest_of_state[state] = self._complaints_about_rest()
        found += self._rest_of_state[state]
        return [f"{self._stage.name} {fault}: {line}" for line in found]

    def _complaints_about_rest(self):
        found = self._complaints_about_values(self._read())
        again = run_stage(self._server, self._directory, self._stage)
        if again.status != 0:
            found.append(f"run again: status {again.status}: {again.text.strip()}")
        for name, value in self._read().items():
            expected = self._values.get(name)
            if expected is not None and value != ["value", expected]:
                found.append(f"after all, {name} is {value}")
        return found + [f"left behind: {name}" for name in partial_files(self._directory)]

    def _start(self):
        restore(self._before, self._directory)

    def _read(self):
        state = self._states.digest(self._directory / "results")
        if state not in self._read_of_state:
            call, names = "faults.readers:read_folder", list(self._stage.outputs)
            read = self._server.call(self._directory, call, "results", names)
            hung = {name: ["crash", f"the readers ended with {read.status}"] for name in names}
            self._read_of_state[state] = hung if read.value is None else read.value
        return self._read_of_state[state]

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


def all_faults(counts, kinds):
    """Return each fault that a stage can meet, by the operations that were counted."""
    return [
        Fault(kind, number, effect)
        for kind, effects in kinds.items()
        for number in range(1, counts.get(kind, 0) + 1)
        for effect in effects
    ]


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


def stage_of(made, name):
    """Return the first stage of a name."""
    return next(stage for stage in made.before if stage.name == name)
