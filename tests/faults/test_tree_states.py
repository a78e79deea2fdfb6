"""A results folder that was changed is told from the one before, and is restored to it."""

import shutil

import pytest

from faults.tree_states import StateReader, partial_files, restore


def change_content(folder):
    (folder / "plan.json").write_text("other")


def add_files(folder):
    (folder / "new").mkdir()
    (folder / "new/runs.json").write_text("")
    (folder / "runs.zarr/c/1").write_text("3")


def remove_a_folder(folder):
    shutil.rmtree(folder / "runs.zarr")


def remove_an_empty_folder(folder):
    (folder / "empty").rmdir()


def replace_a_shared_file(folder):
    (folder / "history.nc").unlink()
    (folder / "history.nc").write_text("3")


CHANGES = (
    add_files,
    change_content,
    remove_a_folder,
    remove_an_empty_folder,
    replace_a_shared_file,
)


@pytest.fixture
def source(tmp_path):
    """Return a folder with shared files and copied ones."""
    folder = tmp_path / "source"
    (folder / "runs.zarr/c").mkdir(parents=True)
    (folder / "empty").mkdir()
    for name in ("runs.zarr/c/0", "history.nc", "plan.json"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder__is_told_apart_and_restored(tmp_path, source, change):
    states, case = StateReader(), tmp_path / "case"
    before = states.digest(source)
    restore(source, case)
    assert states.digest(case) == before

    change(case)
    assert states.digest(case) != before

    restore(source, case)
    assert states.digest(case) == before
    assert states.digest(source) == before


def test_temporary_names_of_two_processes__are_one_state(source):
    states = StateReader()
    before = states.digest(source)
    partial = source / "runs.json.machine-12.partial"
    partial.write_text("1")
    left = states.digest(source)
    partial.rename(source / "runs.json.machine-13.partial")

    assert states.digest(source) == left != before
    assert partial_files(source) == ["runs.json.partial"]
