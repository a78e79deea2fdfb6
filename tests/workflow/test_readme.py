"""Every command of the README runs."""

import re
import shlex

import pytest
import yaml
from workflow_runs import ROOT, environment, run

from synthetic_results import default_networks, write_results

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
DRY = [line for line in SHELL if "snakemake" in line]
BEGUN = [line for line in SHELL if line.startswith("unitlens init ")]
EXPLORED = [line for line in SHELL if line.startswith("unitlens explore ")]
SHOWN = [line for line in SHELL if line.startswith("unitlens ") and line not in BEGUN + EXPLORED]

# `make test` runs these tests, `make all` is run by .ci/run. What pip installs without and with the
# extra is held by tests/unit/house/test_extras.py and by test_wheel.py.
PIP = {"pip install unitlens", "pip install 'unitlens[explore]'", "pip install -e '.[slurm]'"}
ELSEWHERE = {"make all", "make test", *PIP}


def test_readme__has_no_command_that_is_not_run_here():
    assert set(SHELL) == {*DRY, *SHOWN, *BEGUN, *EXPLORED, *ELSEWHERE}


def test_make_targets__exist():
    for target in ("all", "test"):
        done = run(["make", "--dry-run", target], cwd=ROOT)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", BEGUN)
def test_experiment_in_a_new_folder__is_accepted(line, tmp_path):
    done = run(["bash", "-c", f"{line} -- --dry-run"], cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "write_report" in done.stdout


@pytest.mark.parametrize("line", DRY)
def test_workflow_commands__are_accepted(line, tmp_path):
    """Each is planned to its end; what the data holds is the job of the jobs."""
    if "--workflow-profile" in line:  # planned without Slurm's executor
        profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
        profile = {key: value for key, value in profile.items() if "slurm" not in f"{key}{value}"}
        (tmp_path / "slurm").mkdir()
        (tmp_path / "slurm/config.yaml").write_text(yaml.safe_dump(profile))
        line = line.replace("profiles/slurm", str(tmp_path / "slurm"))
    before, _, after = line.partition("snakemake")
    extra = dict(variable.split("=", 1) for variable in before.split())
    done = run(
        ["snakemake", *shlex.split(after), "--dry-run", "--config", f"results={tmp_path}/results"],
        cwd=ROOT,
        env=environment(**extra),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "write_report" in done.stdout


@pytest.mark.parametrize("line", SHOWN)
def test_commands__run(line):
    done = run(shlex.split(line), cwd=ROOT)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("line", EXPLORED)
def test_explorer__shows_results(line, tmp_path):
    """The page is saved; tests/unit/explorer looks at the page that is served."""
    write_results(tmp_path / "results", default_networks()[:2])
    done = run([*shlex.split(line), "--save", "page.html"], cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size > 100_000


def test_own_model_block__runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in PYTHON if "record_activations" in block]
    names = {}
    exec(block, names)

    assert names["selectivity"].sizes["unit"] == 96
    assert names["importance"].loss_increase.notnull().all()


def test_drawn_pairs_block__runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (
        block for block in PYTHON if "record_activations" in block or "tolerance" in block
    )
    names = {}
    exec(first, names)
    exec(second, names)

    error = names["estimate"].loss_increase_sampling_se
    assert (
        abs(names["estimate"].loss_increase - names["importance"].loss_increase) <= 6 * error + 1e-9
    ).all()


def test_groups_and_directions_block__runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (
        block for block in PYTHON if "record_activations" in block or "group_ablation" in block
    )
    names = {}
    exec(first, names)
    exec(second, names)

    assert names["together"].sizes["group"] == 1 + 20
    assert names["alone"].sizes["direction"] == 32
    assert names["turned"].attrs["basis"] == "random"
