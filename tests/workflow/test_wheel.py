"""The wheel is all that a user needs: installed alone, it begins and runs an experiment."""

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml
from workflow_runs import ROOT, environment, run

from unitlens.planning.network_steps import step_code
from unitlens.workflow.workflow_files import SNAKEFILE

pytestmark = pytest.mark.slow

SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "src")
WORKFLOW = ("config.yaml", "workflow", "envs", "presets", "profiles")
TINY = {
    "experiments": {
        "tiny": {
            "dataset": {"name": "digits"},
            "model": {"name": "mlp", "widths": [8]},
            "training": {"epochs": 1, "learning_rate": 0.05},
        }
    },
    "measurements": {"unit_ablation": None, "cumulative_ablation": None, "noise_robustness": None},
}
PAGE = (ROOT / "docs/installation.md").read_text()
(OTHER_WORKFLOW,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
OWN_RULE = """

rule own:
    output: "own.txt"
    shell: "false | true; touch {output}"
"""


def copy_to(directory):
    """Copy what a package is built from, without what was built before."""
    for name in (*SOURCES, *WORKFLOW):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".snakemake")
            shutil.copytree(ROOT / name, directory / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, directory / name)
    return directory


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel without a network, from the source distribution, and return both."""
    source = copy_to(tmp_path_factory.mktemp("source"))
    built = tmp_path_factory.mktemp("built")
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(built)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(built, filter="data")
    left = built / archive.name.removesuffix(".tar.gz") / "build/lib/unitlens/workflow"
    left.mkdir(parents=True)
    (left / "of_an_earlier_build.cfg").touch()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(built)]
    command.append(str(archive).removesuffix(".tar.gz"))
    subprocess.run(command, check=True, capture_output=True)
    (file,) = built.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return the folder that the wheel alone is installed in."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, capture_output=True)
    return target


@pytest.fixture
def start(installed, tmp_path):
    """Return a function that runs an installed command in a folder of the test."""
    (tmp_path / "empty").mkdir()

    def run_installed(command, *arguments, folder="empty"):
        program = [sys.executable, "-m", "snakemake"] if command == "snakemake" else []
        program = program or [str(installed / "bin" / command)]
        paths = environment(PYTHONPATH=str(installed))
        return run([*program, *arguments], cwd=tmp_path / folder, env=paths, timeout=300)

    return run_installed


def files_below(*names):
    """Return the files of the repository that the wheel must hold."""
    paths = [path for name in names for path in [ROOT / name, *(ROOT / name).rglob("*")]]
    return {str(path.relative_to(ROOT)) for path in paths if path.is_file()}


def test_wheel__holds_the_package_and_just_the_files_of_the_workflow(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    folder = "unitlens/workflow/"
    modules = {f"unitlens/{path.relative_to(ROOT / 'src/unitlens')}" for path in python_files()}

    assert modules <= names
    assert {"unitlens/py.typed", "unitlens/report/page.html", "unitlens/report/page.css"} <= names
    held = {name.removeprefix(folder) for name in names if name.startswith(folder)}
    assert {name for name in held if not name.endswith(".py")} == files_below(*WORKFLOW)


def python_files():
    """Return the modules of the package."""
    return sorted((ROOT / "src/unitlens").rglob("*.py"))


def test_installed__begins_and_runs_an_experiment(start, installed, tmp_path):
    begun = start("unitlens", "init", "first")
    assert begun.returncode == 0, begun.stderr
    folder = tmp_path / "empty/first"
    assert (folder / "config.yaml").read_text() == (ROOT / "config.yaml").read_text()
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY))

    done = start("unitlens", "run", folder="empty/first")

    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results"
    assert (results / "report.html").is_file()
    log = next(results.glob("logs/unit_measures/*.log")).read_text()
    assert "work" in log
    # The jobs had the installed package alone on their path, not the folder that it lies in.
    (link,) = (folder / ".snakemake/unitlens").iterdir()
    assert link.resolve() == installed / "unitlens"
    # The digest of an installed package is that of its source: results can move between both.
    again = start("unitlens", "run", "--", "--dry-run", folder="empty/first")
    assert "Nothing to be done" in again.stdout + again.stderr
    (table,) = results.glob("*/unit_measures.nc")
    assert step_code("unit_measures").encode() in table.read_bytes()


def test_run__needs_no_snakefile_and_takes_files_and_arguments(start, tmp_path):
    (tmp_path / "empty/mine.yaml").write_text(yaml.safe_dump({**TINY, "results": "mine"}))

    done = start("unitlens", "run", "mine.yaml", "--", "tabulate", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "mine/tables" in done.stdout
    assert "write_report" not in done.stdout


def test_command_on_the_page__is_one_of_the_installed_program(start, tmp_path):
    measured = {**TINY["measurements"], "cumulative_ablation": {}}
    compared = {**TINY, "results": "mine", "paper": {"mnist_ablation": ["tiny"]}}
    compared["measurements"] = measured
    (tmp_path / "empty/mine.yaml").write_text(yaml.safe_dump(compared))
    asked = ("mine/paper.csv", "--dry-run", "--printshellcmds", "--config", "only=[tiny]")

    done = start("unitlens", "run", "mine.yaml", "--", *asked)

    assert done.returncode == 0, done.stderr
    words = shlex.split(next(line for line in done.stdout.splitlines() if "--command" in line))
    command = words[words.index("--command") + 1]
    assert command == "unitlens run mine.yaml -- --config 'only=[\"tiny\"]'"
    again = start(*shlex.split(command), "results=again", "--dry-run")
    assert again.returncode == 0, again.stderr
    assert "again/paper.csv" in again.stdout


def test_module__of_another_workflow(start, tmp_path):
    """The Snakefile of the documentation is accepted."""
    (tmp_path / "empty/config.yaml").write_text(yaml.safe_dump({"unitlens": TINY}))
    (tmp_path / "empty/Snakefile").write_text(OTHER_WORKFLOW + OWN_RULE)

    planned = start("snakemake", "--dry-run", "after")
    assert planned.returncode == 0, planned.stderr
    assert "unitlens_write_report" in planned.stdout

    # Its own rules still run in the strict mode of bash: a pipe fails where one command does.
    failing = start("snakemake", "--cores=1", "own")
    assert failing.returncode != 0
    assert not (tmp_path / "empty/own.txt").exists()


def test_module__with_a_prefix_is_refused(start, tmp_path):
    (tmp_path / "empty/config.yaml").write_text(yaml.safe_dump({"unitlens": TINY}))
    prefixed = OTHER_WORKFLOW.replace("    config:\n", '    prefix:\n        "x"\n    config:\n')
    (tmp_path / "empty/Snakefile").write_text(prefixed)

    done = start("snakemake", "--dry-run")

    assert done.returncode != 0
    assert "must not have prefix" in done.stderr
    assert "set results in the configuration" in done.stderr


def test_repository__has_its_workflow_at_its_top():
    assert str(ROOT / "workflow/Snakefile") == SNAKEFILE
