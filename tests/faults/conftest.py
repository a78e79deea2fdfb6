"""What the tests of faults share: the server, and the undisturbed results."""

import shutil
from dataclasses import dataclass, field

import pytest

from faults.accounts import find_rows, format_tables
from faults.fork_server import ForkServer
from faults.stages import ALL, OTHER_MEASUREMENTS, Workflow, run_stage, with_few_tables


def pytest_terminal_summary(terminalreporter):
    """Show what was tried, where every fault is met."""
    stats = terminalreporter.stats
    rows = find_rows([*stats.get("passed", []), *stats.get("failed", [])])
    if ALL and rows:
        terminalreporter.section("faults that were met")
        for line in format_tables(rows):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def server():
    """Return the process that forks a child for each command."""
    with ForkServer() as started:
        yield started


@dataclass
class Undisturbed:
    """A workflow that ran without a fault.

    Attributes
    ----------
    workflow
        The workflow.
    directory
        The directory with its folder ``results``.
    before
        Each stage to a copy of the directory as it was before the stage.
    values
        What can be read in the end, by its name.
    """

    workflow: Workflow
    directory: object
    before: dict = field(default_factory=dict)
    values: dict = field(default_factory=dict)


def run_undisturbed(server, workflow, directory, copies, last=None):
    """Run the stages of a workflow, and copy the directory before one stage of each name.

    Parameters
    ----------
    server
        The server of processes.
    workflow
        The workflow.
    directory
        Directory to run in.
    copies
        Directory for the copies.
    last
        Name of the last stage that is run; all are run if None.
    """
    made = Undisturbed(workflow, directory)
    workflow.write_plan(directory)
    written = []
    for stage in workflow.stages():
        if stage.name not in {other.name for other in made.before}:
            made.before[stage] = copies / stage.name
            shutil.copytree(directory, copies / stage.name)
        done = run_stage(server, directory, stage)
        assert done.status == 0, f"{stage}: {done.text}"
        written += stage.outputs
        if stage.name == last:
            break
    read = server.call(directory, "faults.readers:read_folder", "results", written)
    made.values = all_values(read.value)
    return made


def all_values(read):
    """Return the values of undisturbed results, by name; all that was made must be readable."""
    values = {name: text for name, (kind, text) in read.items() if kind == "value"}
    for name, (kind, text) in read.items():
        unmade = name.startswith("tables/") and "there is no table" in text
        assert name in values or unmade, f"{name} is {kind}: {text}"
    return values


@pytest.fixture(scope="session")
def undisturbed(server, tmp_path_factory):
    """Return the workflow whose results are made for the first time."""
    directory, copies = (tmp_path_factory.mktemp(name) for name in ("first", "before"))
    return run_undisturbed(server, Workflow(), directory, copies)


@pytest.fixture(scope="session")
def in_parts(server, tmp_path_factory):
    """Return the same workflow with activations and unit ablations in two parts."""
    directory, copies = (tmp_path_factory.mktemp(name) for name in ("parts", "before_parts"))
    return run_undisturbed(server, Workflow(parts=2), directory, copies, "merge-tables")


@pytest.fixture(scope="session")
def few_tables(server, tmp_path_factory):
    """Return a workflow of few tables, whose stages take the shortest time."""
    directory, copies = (tmp_path_factory.mktemp(name) for name in ("few", "before_few"))
    return run_undisturbed(server, with_few_tables(), directory, copies)


@pytest.fixture(scope="session")
def measured_anew(server, undisturbed, tmp_path_factory):
    """Return a workflow with other settings, over the results of the first."""
    directory = tmp_path_factory.mktemp("anew") / "directory"
    shutil.copytree(undisturbed.directory, directory)
    copies = tmp_path_factory.mktemp("before_anew")
    return run_undisturbed(server, Workflow(OTHER_MEASUREMENTS), directory, copies)
