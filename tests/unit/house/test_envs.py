"""The conda environments and the lock ask for what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = DECLARED["optional-dependencies"]
LOCKED = dict(
    line.split("==")
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
)


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("env", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_env__asks_for_the_declared_versions(env):
    asked = yaml.safe_load(env.read_text())["dependencies"][-1]["pip"]

    assert asked
    assert set(asked) <= {*DECLARED["dependencies"], *EXTRAS["workflow"], *EXTRAS["explore"]}


def test_lock__satisfies_what_is_declared():
    locked = {canonical(name): version for name, version in LOCKED.items()}
    own = ["unitlens[workflow]", "unitlens[explore]", "unitlens[docs]"]
    assert EXTRAS["test"][:3] == own
    assert EXTRAS["explore"][0] == EXTRAS["docs"][0] == own[0]
    asked = EXTRAS["workflow"] + EXTRAS["explore"][1:] + EXTRAS["docs"][1:] + EXTRAS["test"][3:]
    for text in DECLARED["dependencies"] + asked:
        requirement = Requirement(text)
        assert requirement.specifier.contains(locked[canonical(requirement.name)]), text


def test_lock__holds_no_address():
    assert "://" not in (ROOT / "requirements.lock").read_text()
