"""The state to resume from: damaged, incomplete, or killed while it is removed."""

import shutil

import pytest

from small_trainings import OUTPUTS, StoppingAfter, finishes, run_spec
from unitlens.errors import ModelError
from unitlens.hashed_files import read_hashed
from unitlens.training import resume_state
from unitlens.training import train as train_module
from unitlens.training.checkpoints import load_checkpoint
from unitlens.training.train import train


def test_train__starts_over_from_a_damaged_state_with_a_warning(digits, tmp_path, caplog):
    _leave_state(digits, tmp_path)
    state = tmp_path / "resume/state.pt"
    raw = bytearray(state.read_bytes())
    raw[len(raw) // 3] ^= 4
    state.write_bytes(raw)

    train(run_spec(checkpoints=[0]), digits, tmp_path)

    assert "the training starts over, for" in caplog.text
    assert "state.pt is damaged: its content differs from what was written" in caplog.text
    assert load_checkpoint(tmp_path)[1].epoch == 2


def test_train__starts_over_from_a_state_of_the_version_before(digits, tmp_path, caplog):
    _leave_state(digits, tmp_path)
    state = tmp_path / "resume/state.pt"
    state.write_bytes(read_hashed(state, error=ModelError, remedy=""))

    train(run_spec(checkpoints=[0]), digits, tmp_path)

    assert "state.pt carries no hash at its end: it is cut off, or of unitlens before 0.3" in (
        caplog.text
    )
    assert load_checkpoint(tmp_path)[1].epoch == 2


@pytest.mark.parametrize(
    "lost", ["epoch-0000/checkpoint.json", "epoch-0000/checkpoint.safetensors", "epoch-0000"]
)
@pytest.mark.parametrize("how", ["removed", "damaged"])
def test_train__starts_over_where_a_kept_epoch_is_lost(digits, tmp_path, caplog, lost, how):
    _leave_state(digits, tmp_path)
    path = tmp_path / "resume" / lost
    if path.is_dir():
        shutil.rmtree(path)
    elif how == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])

    train(run_spec(checkpoints=[0]), digits, tmp_path)

    assert "the training starts over, for" in caplog.text
    assert "epoch-0000" in caplog.text
    assert load_checkpoint(tmp_path / "epoch-0000")[1].epoch == 0


def test_train__copies_no_damaged_kept_epoch(digits, tmp_path, monkeypatch):
    """It is damaged while the training runs; the next call trains again, as the error says."""
    spec = run_spec(checkpoints=[0])

    def damage(self, *_):
        (self.path / "epoch-0000/checkpoint.safetensors").write_bytes(b"damaged")

    monkeypatch.setattr(resume_state, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(resume_state.ResumeFolder, "save", damage)
    with pytest.raises(ModelError, match=r"cannot load the weights in .*run snakemake again"):
        train(spec, digits, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "checkpoint.json").exists()

    train(spec, digits, tmp_path)

    assert load_checkpoint(tmp_path / "epoch-0000")[1].epoch == 0


def _leave_state(digits, directory):
    """Train one epoch of two, as if the training was killed then."""

    def kill(*_):
        raise InterruptedError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume_state, "SECONDS_BETWEEN_SAVES", 0.0)
        patch.setattr(train_module, "write_history", kill)
        with pytest.raises(InterruptedError):
            train(run_spec(checkpoints=[0]), digits, directory)
    assert (directory / "resume/state.pt").is_file()


@pytest.mark.parametrize("removed", [(), OUTPUTS], ids=["killed", "failed"])
def test_train__finishes_after_a_kill_while_the_state_is_removed(
    digits, tmp_path, monkeypatch, removed
):
    """Killed at each removal; Snakemake removes the outputs of a job that fails."""
    monkeypatch.setattr(resume_state, "SECONDS_BETWEEN_SAVES", 0.0)
    spec = run_spec(checkpoints=[0, 1])
    train(spec, digits, tmp_path / "expected", code="now")
    expected = load_checkpoint(tmp_path / "expected")[1]
    stopped, count = True, 0
    while stopped:
        run = tmp_path / str(count)
        with StoppingAfter(
            count,
            names=("unlink", "rmdir"),
            where=lambda run=run: (run / "checkpoint.json").exists() and (run / "resume").exists(),
        ) as operations:
            stopped = not finishes(spec, digits, run)
        for name in removed if stopped else ():
            (run / name).unlink(missing_ok=True)
        count += 1

        train(spec, digits, run, code="now")

        assert load_checkpoint(run)[1] == expected
        assert load_checkpoint(run / "epoch-0001")[1].epoch == 1
        assert not (run / "resume").exists()
    assert len(operations) == 8  # the state, two kept epochs of two files, three folders
