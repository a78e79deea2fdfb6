"""The command on a page makes the results again as it stands, also with the user's own code."""

import json
import os
import shlex
from pathlib import Path

import pytest
from snakemake.cli import parse_config

from unitlens.provenance.user_source import module_root
from unitlens.workflow.jobs_source import source_folder
from unitlens.workflow.repeated_command import repeated_command


def write_module(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("def build():\n    return None\n")


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """A folder on PYTHONPATH with a module, a package, and a part of a package without __init__."""
    folder, other = tmp_path / "my code", tmp_path / "other"
    for name in ("one.py", "two/__init__.py", "two/models.py", "three/models.py"):
        write_module(folder / name)
    write_module(other / "three/others.py")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.syspath_prepend(other)
    jobs = source_folder()  # which the workflow puts first
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (jobs, other, folder, other))))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("name", ["one", "two", "two.models", "three.models"])
def test_command__sets_the_path_that_own_code_is_found_on(name, own_code, tmp_path):
    """All entries in their order: own code may import other code of another entry."""
    assert module_root(name).resolve() == own_code.resolve()
    command = repeated_command("run", {}, [f"{name}:build"] * 2, tmp_path)

    assert shlex.split(command) == ["PYTHONPATH=other:my code", "run"]


def test_path__is_absolute_where_jobs_run_in_another_directory(own_code, tmp_path):
    command = repeated_command("run", {}, ["one:build"], tmp_path / "elsewhere")

    assert shlex.split(command)[0] == f"PYTHONPATH={tmp_path / 'other'}:{own_code}"


@pytest.mark.parametrize("name", ["torchvision.models:resnet18", "json:load", "nowhere:build"])
def test_command__sets_no_path_for_other_modules(name, own_code, tmp_path):
    assert repeated_command("run", {}, [name], tmp_path) == "run"


def test_code_in_the_current_directory__needs_no_path(tmp_path, monkeypatch):
    write_module(tmp_path / "here/near.py")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert repeated_command("run", {}, ["near:build"], tmp_path / "here") == "run"


def test_settings__are_read_by_snakemake_as_they_were_given(tmp_path):
    given = ["only=[a, 'b c']", "device=cpu", "seeds=3", "share=.5", "quick=true", "map={k: [v]}"]
    given += ["text=a b: c", "path=/data/für", r"raw=a\b", 'deep=["ü", "a\\"b"]']
    settings = parse_config(["results=mine", *given])

    words = shlex.split(repeated_command("run a.yaml", settings, [], Path.cwd()))

    assert words[:3] == ["run", "a.yaml", "--config"]
    assert {**parse_config(words[3:]), "results": "mine"} == settings
    assert json.loads(words[3].removeprefix("only=")) == ["a", "b c"]
