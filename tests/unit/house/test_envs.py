"""The conda environments, the container and the lock ask for what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from unitlens import __version__

ROOT = Path(__file__).parents[3]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = DECLARED["optional-dependencies"]
LOCKED = dict(
    line.split("==")
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
)
# Packages that conda-forge and bioconda call otherwise.
CONDA_NAMES = {
    "torch": "pytorch",
    "xxhash": "python-xxhash",
    "matplotlib": "matplotlib-base",
    "snakemake": "snakemake-minimal",
}
ENVS = sorted((ROOT / "envs").glob("*.yaml"))


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared_requirements():
    """Return what pyproject.toml asks for, by the names of conda."""
    texts = [*DECLARED["dependencies"], *EXTRAS["workflow"], *EXTRAS["explore"]]
    found = [Requirement(text) for text in texts if not text.startswith("unitlens")]
    return {CONDA_NAMES.get(one.name, one.name): one for one in found}


def next_release(version):
    """Return the first version that may break what a version holds."""
    major, minor = Version(version).release[:2]
    return f"{major + 1}" if major else f"0.{minor + 1}"


@pytest.mark.parametrize("env", ENVS, ids=lambda path: path.stem)
def test_env__asks_for_the_declared_versions_up_to_the_locked_release(env):
    """Lower bounds are the declared ones; upper bounds lie just above what is tested."""
    declared = declared_requirements()
    locked = {canonical(name): version for name, version in LOCKED.items()}

    python, *asked = yaml.safe_load(env.read_text())["dependencies"]
    assert python.startswith(f"python {DECLARED['requires-python']},<")
    for text in asked:
        name, _, bounds = text.partition(" ")
        requirement = declared[name]
        version = locked[canonical(requirement.name)]
        lower = next(one for one in requirement.specifier if one.operator == ">=")
        assert bounds == f"{lower},<{next_release(version)}", text


def test_lock__satisfies_what_is_declared():
    locked = {canonical(name): version for name, version in LOCKED.items()}
    own = [text for text in EXTRAS["test"] if text.startswith("unitlens[")]
    assert own == [f"unitlens[{extra}]" for extra in ("workflow", "explore", "docs", "storage")]
    asked = [
        text for name in ("workflow", "explore", "docs", "storage", "test") for text in EXTRAS[name]
    ]
    for text in DECLARED["dependencies"] + [text for text in asked if "unitlens[" not in text]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(locked[canonical(requirement.name)]), text


def test_lock__holds_no_address():
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_version__stands_once_more_where_nothing_can_be_imported():
    rules = (ROOT / "workflow/rules/common.smk").read_text()

    assert f'\nVERSION = "{__version__}"\n' in rules
    assert DECLARED["version"] == __version__
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    for file in ("Dockerfile", "docs/installation.md"):
        text = (ROOT / file).read_text()
        assert f"docker build -t unitlens:{__version__} ." in text
        assert set(re.findall(r"unitlens[:-](\d+\.\d+\.\d+)", text)) == {__version__}


def test_min_version__of_snakemake_is_the_declared_one():
    (declared,) = [text for text in EXTRAS["workflow"] if text.startswith("snakemake")]
    (asked,) = re.findall(r'min_version\("(.*)"\)', (ROOT / "workflow/Snakefile").read_text())

    assert declared == f"snakemake>={asked}"


def test_dockerfile__copies_what_is_there_and_installs_the_lock():
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()

    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    image = next(line for line in lines if line.startswith("FROM")).split()[1]
    version = image.partition(":")[2].partition("-")[0]
    assert version in {f"3.{minor}" for minor in range(11, 15)}
    assert any("-r requirements.lock" in line for line in lines if line.startswith("RUN"))
