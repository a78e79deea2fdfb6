"""The command that runs the workflow: Snakefile, cores, configuration, path."""

import os
import sys
from pathlib import Path

import pytest

from unitlens.errors import ArgumentError
from unitlens.workflow.jobs_source import put_first_on_path, source_folder
from unitlens.workflow.snakemake_start import snakemake_command
from unitlens.workflow.workflow_files import SNAKEFILE

START = [sys.executable, "-m", "snakemake"]
INSTALLED = ["--snakefile", SNAKEFILE]


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """Return the current directory, which holds two configurations."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("experiments: {}")
    (tmp_path / "mine.yaml").write_text("experiments: {}")
    return tmp_path


def command(*arguments, configs=(), **environment):
    return snakemake_command([Path(config) for config in configs], arguments, environment)[0]


def test_command__runs_the_installed_workflow_on_all_cores():
    assert command() == [*START, *INSTALLED, "--cores", "all"]


@pytest.mark.parametrize("name", ["Snakefile", "workflow/Snakefile"])
def test_snakefile__of_the_directory_comes_first(name, directory):
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text("")

    assert command() == [*START, "--cores", "all"]


@pytest.mark.parametrize("given", [("-s", "other"), ("--snakefile=other",), ("-sother",)])
def test_snakefile__that_is_named_is_taken(given):
    assert command(*given) == [*START, "--cores", "all", *given]


CORES = [("--cores", "2"), ("--cores=2",), ("-c2",), ("-c", "2"), ("-j4",), ("--profile", "mine")]


@pytest.mark.parametrize("given", [*CORES, ("--workflow-profile", "slurm"), ("-e", "slurm")])
def test_cores__are_left_to_what_is_given(given):
    assert command(*given) == [*START, *INSTALLED, *given]


def test_cores__are_left_to_the_profile_of_the_environment():
    assert command(SNAKEMAKE_PROFILE="mine") == [*START, *INSTALLED]


def test_cores__are_not_taken_for_another_option():
    assert command("--conda-prefix", "x") == [
        *(*START, *INSTALLED, "--cores", "all", "--conda-prefix", "x"),
    ]


def test_configurations__stand_behind_all_targets():
    """Snakemake takes all that follows ``--configfile`` for configurations."""
    made = command("tabulate", "-n", configs=["config.yaml", "mine.yaml"])

    assert made[-5:] == ["tabulate", "-n", "--configfile", "config.yaml", "mine.yaml"]


def test_configuration__that_is_missing_is_refused(directory):
    with pytest.raises(ArgumentError, match=r"no configuration other\.yaml; .* unitlens init"):
        command(configs=["other.yaml"])
    (directory / "config.yaml").unlink()
    with pytest.raises(ArgumentError, match=r"no config\.yaml in .*: unitlens run FILE, or"):
        command()
    assert "--configfile" in command("--configfile", "mine.yaml")
    assert "--configfile" in command(configs=["mine.yaml"])


def test_path__begins_with_the_interpreter_that_runs():
    _, environment = snakemake_command([], [], {"PATH": "/bin", "KEPT": "1"})

    first, _, rest = environment["PATH"].partition(os.pathsep)
    assert Path(first) == Path(sys.executable).parent
    assert rest == "/bin"
    assert environment["KEPT"] == "1"


def test_source__of_a_repository_is_its_own_folder():
    assert source_folder() == Path(__file__).parents[3] / "src"


def test_source__of_an_installation_holds_the_package_alone(directory, monkeypatch):
    monkeypatch.setattr("unitlens.workflow.jobs_source.IN_REPOSITORY", False)
    for _ in range(2):  # each job finds the link of the job before
        folder = source_folder()
        assert folder.is_relative_to(directory)
        assert os.listdir(folder) == ["unitlens"]  # noqa: PTH208
        assert (folder / "unitlens/errors.py").is_file()
    (folder / "unitlens").unlink()
    (folder / "unitlens").symlink_to(directory)  # another installation, of before
    assert (source_folder() / "unitlens/errors.py").is_file()


def test_path_of_modules__gets_a_folder_once(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"mine{os.pathsep}theirs")
    for _ in range(2):
        put_first_on_path(Path("first"))

    assert os.environ["PYTHONPATH"].split(os.pathsep) == ["first", "mine", "theirs"]
