"""An experiment begins with files that are complete, and none of the user's is overwritten."""

from pathlib import Path

import pytest

from unitlens.config.reading import read_config
from unitlens.errors import ArgumentError
from unitlens.workflow.experiment_folder import begin_experiment

ROOT = Path(__file__).parents[3]
COPIED = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("config.yaml", "presets/*.yaml", "profiles/*/config.yaml")
    for path in ROOT.glob(pattern)
)


def test_experiment__begins_with_the_default_one(tmp_path):
    folder = tmp_path / "new/folder"
    written = begin_experiment(folder)

    assert sorted(str(path.relative_to(folder)) for path in written) == ["Snakefile", *COPIED]
    for name in COPIED:
        assert (folder / name).read_text() == (ROOT / name).read_text()
    assert read_config(folder / "config.yaml").experiments
    presets = folder / "presets"
    assert read_config(presets / "mnist.yaml", presets / "mnist-2core.yaml").experiments


@pytest.mark.parametrize("name", ["Snakefile", "config.yaml", "profiles/slurm/config.yaml"])
def test_files_of_the_user__are_not_overwritten(name, tmp_path):
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")

    with pytest.raises(ArgumentError, match=rf"{name} exists already, .*; name another folder"):
        begin_experiment(tmp_path)
    assert mine.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_folder__that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")

    with pytest.raises(ArgumentError, match="file is a file, but must be a folder"):
        begin_experiment(tmp_path / "file")
