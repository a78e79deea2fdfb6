"""Snakemake in an environment without unitlens, and the workflow used from elsewhere."""

import functools
import http.server
import re
import shutil
import sys
import threading

import pytest
import yaml
from workflow_runs import ROOT, TINY, environment, run, snakemake

import unitlens
from visible_packages import seeing_alone

# The plugins are found by Snakemake wherever modules are, and must be importable.
PLUGINS = (
    "snakemake-executor-plugin-slurm",
    "snakemake-storage-plugin-fs",
    "snakemake-storage-plugin-s3",
)
PLANNING = ("snakemake", "numpy", "pydantic", "xxhash", *PLUGINS)
# An editable installation finds the package by a path, as everything else that is installed.
BARE = f"""
sys.path[:] = [path for path in sys.path if path != {str(ROOT / "src")!r}]
from snakemake.cli import main
main(ARGUMENTS)
"""
USED_FROM_ELSEWHERE = """
configfile: "config.yaml"

module unitlens:
    snakefile: "{address}/workflow/Snakefile"
    config: config

use rule * from unitlens
"""


def bare_snakemake(directory, *arguments, packages=PLANNING, config=TINY):
    """Run the workflow by a Snakemake that sees packages alone."""
    directory.mkdir(exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    given = ["--snakefile", str(ROOT / "Snakefile"), "--cores=1", *arguments]
    program = seeing_alone(packages, f"ARGUMENTS = {given!r}\n{BARE}")
    clean = environment()
    clean.pop("PYTHONPATH", None)
    return run([sys.executable, "-c", program], cwd=directory, env=clean)


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


def test_snakemake_alone__plans_with_three_packages(tmp_path):
    done = bare_snakemake(tmp_path, "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "write_report" in done.stdout


def test_snakemake_alone__leaves_the_check_of_layers_to_the_jobs(tmp_path):
    named = {**TINY, "measurements": {"unit_ablation": {"layers": ["nowhere"]}}}
    named = {**named, "figures": {}, "paper": {}}

    assert "nowhere" in last_line(snakemake(tmp_path, "--dry-run", config=named))
    done = bare_snakemake(tmp_path / "bare", "--dry-run", config=named)
    assert done.returncode == 0, done.stderr


def test_snakemake_alone__starts_no_job_without_an_environment_for_jobs(tmp_path):
    done = bare_snakemake(tmp_path)

    assert done.returncode != 0
    assert "has no torch, which the jobs need; add --sdm conda" in done.stderr
    assert not list((tmp_path / "results").glob("*/checkpoint.json"))


def test_snakemake_alone__names_what_the_plan_lacks(tmp_path):
    done = bare_snakemake(tmp_path, "--dry-run", packages=["snakemake", *PLUGINS])

    assert done.returncode != 0
    # Whether numpy is there, some plugin of Snakemake decides.
    assert re.search(r"-m pip install (numpy )?xxhash$", last_line(done))


@pytest.fixture
def serve():
    """Return a function that serves a folder on this machine, and returns its address."""
    servers = []

    def start(folder):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def deployed(directory, address, *arguments):
    (directory / "Snakefile").write_text(USED_FROM_ELSEWHERE.format(address=address))
    (directory / "config.yaml").write_text(yaml.safe_dump(TINY))
    command = [sys.executable, "-m", "snakemake", "--cores=1", *arguments]
    return run(command, cwd=directory)


def test_deployed_workflow__runs_the_installed_code_of_its_version(tmp_path, serve):
    (tmp_path / "use").mkdir()

    planned = deployed(tmp_path / "use", serve(ROOT), "--dry-run")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "write_report" in planned.stdout

    done = deployed(tmp_path / "use", serve(ROOT), "results/plan.json")
    assert done.returncode == 0, done.stderr


def test_deployed_workflow__refuses_the_installed_code_of_another_version(tmp_path, serve):
    shutil.copytree(ROOT / "workflow", tmp_path / "site/workflow")
    rules = tmp_path / "site/workflow/rules/common.smk"
    (version,) = re.findall(r'^VERSION = "(.*)"$', rules.read_text(), re.MULTILINE)
    assert version == unitlens.__version__
    rules.write_text(rules.read_text().replace(f'"{version}"', '"99.0"'))
    (tmp_path / "use").mkdir()

    done = deployed(tmp_path / "use", serve(tmp_path / "site"), "--dry-run")

    assert done.returncode != 0
    assert f"of unitlens 99.0, but {version} is installed; run: " in last_line(done)


def test_container__is_named_by_the_site_or_refused(tmp_path):
    refused = snakemake(tmp_path, "--dry-run", "--sdm", "apptainer")
    assert refused.returncode != 0
    assert "needs the image of the Dockerfile; build it, and name it" in last_line(refused)

    paths = environment(UNITLENS_CONTAINER="unitlens.sif")
    assert snakemake(tmp_path, "--dry-run", env=paths).returncode == 0
