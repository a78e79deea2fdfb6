"""Calls that are killed and begun again: the undisturbed table, or a refusal in one line.

``UNITLENS_KILLS=20 pytest tests/unit/perturbation/test_saved_sums.py`` kills each function twenty
times; without the variable, each is killed three times.
"""

import os
import pickle
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError, SavedSumsError
from unitlens.hashed_files import read_hashed, read_trailer, write_hashed
from unitlens.perturbation import call_identity, saved_sums, summed_batches
from unitlens.perturbation.engine import batch_memory, effects
from unitlens.perturbation.join_curves import ablation_curves
from unitlens.perturbation.sampling.sampled_importance import _pilot_positions

KILLS = int(os.environ.get("UNITLENS_KILLS", "3"))
SAMPLES, BATCH = 96, 8


class StoppedError(BaseException):
    """Stands for the end of the process."""


class StoppingSet(TensorDataset):
    """A data set that fails at its nth reading of a batch."""

    stop_at: int | None = None
    read = 0

    def __getitem__(self, index: Any) -> Any:
        self.read += 1
        if self.stop_at is not None and self.read > self.stop_at:
            raise StoppedError
        return super().__getitem__(index)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 9), nn.ReLU(),
        nn.Linear(9, 4),
    ).eval()  # fmt: skip


@pytest.fixture
def dataset() -> StoppingSet:
    torch.manual_seed(1)
    return StoppingSet(torch.randn(SAMPLES, 1, 6, 6), torch.randint(4, (SAMPLES,)))


@pytest.fixture(autouse=True)
def each_batch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summed_batches, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(summed_batches, "SAVING_SHARE", np.inf)


CALLS: dict[str, Callable[..., xr.Dataset]] = {
    "units": ul.unit_ablation,
    "drawn units at a rate": lambda model, data, **more: ul.unit_ablation(
        model, data, rate=0.3, **more
    ),
    "drawn units to a tolerance": lambda model, data, **more: ul.unit_ablation(
        model, data, tolerance=0.01, **more
    ),
    "groups": lambda model, data, **more: ul.group_ablation(
        model, data, [[0, 7], [3], [1, 2, 9]], value="mean", **more
    ),
    "drawn groups": lambda model, data, **more: ul.group_ablation(
        model, data, [[0, 7], [3], [1, 2, 9]], tolerance=0.01, **more
    ),
    "directions": lambda model, data, **more: ul.direction_ablation(
        model, data, {"2": np.eye(6) + 0.1, "5": np.eye(9)[::2]}, **more
    ),
    "orders": lambda model, data, **more: ul.cumulative_ablation(
        model, data, orders=3, points=4, **more
    ),
    "draws": lambda model, data, **more: ul.noise_robustness(
        model, data, [0.5, 2.0], variance=np.ones(15), draws=3, **more
    ),
}


def stopped(call: Callable[..., xr.Dataset], data: StoppingSet, reads: int, **more: Any) -> None:
    """Stop a call when it has read some samples."""
    data.read, data.stop_at = 0, reads
    with pytest.raises(StoppedError):
        call(data, **more)
    data.stop_at = None


@pytest.fixture(params=sorted(CALLS))
def call(request: pytest.FixtureRequest, model: nn.Module) -> Callable[..., xr.Dataset]:
    function = CALLS[request.param]
    return lambda data, **more: function(model, data, batch_size=BATCH, **more)


def test_checkpoint__goes_on_to_the_undisturbed_table(
    call: Callable[..., xr.Dataset], dataset: StoppingSet, tmp_path: Path
) -> None:
    whole, file = call(dataset), tmp_path / "sums.partial"
    dataset.read = 0
    call(dataset)
    reads = dataset.read
    for part in (None, (1, 2)):
        expected = whole if part is None else call(dataset, part=part)
        for stop in (reads - SAMPLES + 30, reads - 20, reads - 3):
            stopped(call, dataset, stop, checkpoint=file, part=part)
            assert file.exists()
        resumed = call(dataset, checkpoint=file, part=part)
        assert resumed.identical(expected)
        for name, array in expected.items():
            assert resumed[name].values.tobytes() == array.values.tobytes()
        assert [*tmp_path.iterdir()] == []


def test_checkpoint__that_goes_on_elsewhere_names_both_devices(
    call: Callable[..., xr.Dataset],
    dataset: StoppingSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call(dataset)
    reads, file = dataset.read, tmp_path / "sums.partial"
    monkeypatch.setattr(call_identity, "describe_device", lambda _: "GPU A, driver 1")
    stopped(call, dataset, reads - 20, checkpoint=file)
    monkeypatch.setattr(call_identity, "describe_device", lambda _: "GPU B, driver 1")
    resumed = call(dataset, checkpoint=file)
    assert resumed.attrs["device"] == "GPU A, driver 1; GPU B, driver 1"


class StoppedAfterSaves:
    """Ends a call after its nth save: the file is that of a process which was killed then.

    Attributes
    ----------
    saves
        Number of saves so far.
    progress
        What the files said of how far their sums were.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.saves, self.stop_after = 0, 10**9
        self.progress: list[dict[str, int]] = []
        replacing = saved_sums.replacing_hashed

        @contextmanager
        def write_and_stop(path: Path, stated: dict[str, Any]) -> Iterator[Path]:
            with replacing(path, stated) as partial:
                yield partial
            self.saves += 1
            self.progress.append(stated["progress"])
            if self.saves == self.stop_after:
                raise StoppedError

        monkeypatch.setattr(saved_sums, "replacing_hashed", write_and_stop)

    def run(self, call: Callable[[], Any], saves: int = 10**9) -> Any:
        """Run a call; return its result, or None where it was stopped."""
        self.saves, self.stop_after = 0, saves
        self.progress.clear()
        try:
            return call()
        except StoppedError:
            return None


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> StoppedAfterSaves:
    """Stop calls after saves, and let few rows run at once, so that a batch has many steps."""
    monkeypatch.setattr(batch_memory, "CPU_WORKING_SET", 2**12)
    monkeypatch.setattr(effects, "_DIRECTIONS_OF_THREAD", 2)
    return StoppedAfterSaves(monkeypatch)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_checkpoint__goes_on_within_a_batch_with_the_same_bits(
    name: str,
    model: nn.Module,
    dataset: StoppingSet,
    tmp_path: Path,
    stopping: StoppedAfterSaves,
) -> None:
    file = tmp_path / "sums"

    def call(checkpoint: Path | None = file) -> xr.Dataset:
        return CALLS[name](model, dataset, batch_size=40, checkpoint=checkpoint)

    whole = call(None)
    stopping.run(call)
    within = [save for save, one in enumerate(stopping.progress, start=1) if one["steps"]]
    assert len(within) >= 5
    for stop in (within[0], within[len(within) // 2], within[-1]):
        assert stopping.run(call, stop) is None
        resumed = stopping.run(call)
        assert resumed.identical(whole)
        for variable, array in whole.items():
            assert resumed[variable].values.tobytes() == array.values.tobytes()
        assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", sorted(CALLS))
def test_checkpoint__killed_at_every_step_runs_no_step_twice(
    name: str,
    model: nn.Module,
    dataset: StoppingSet,
    tmp_path: Path,
    stopping: StoppedAfterSaves,
) -> None:
    file, size = tmp_path / "sums", 40

    def call(checkpoint: Path | None) -> xr.Dataset:
        more = {"score": counting_score, "batch_size": size, "checkpoint": checkpoint}
        return CALLS[name](model, dataset, **more)

    def rows() -> int:
        total = sum(scored_rows)
        scored_rows.clear()
        return total

    rows()
    whole = call(None)
    needed, starts, resumed = rows(), 0, None
    while resumed is None:
        resumed, starts = stopping.run(lambda: call(file), 1), starts + 1
    assert resumed.identical(whole)
    assert starts > 6
    # A start scores the begun batch again without perturbation; where pairs are drawn, it also
    # predicts the changes on this batch and on the 24 samples of the pilot.
    again = 2 * size + 24 if name.startswith("drawn") else size
    assert rows() <= needed + starts * again


scored_rows: list[int] = []


def counting_score(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    scored_rows.append(len(output))
    return nn.functional.cross_entropy(output.double(), targets, reduction="none")


def test_checkpoint__does_not_run_again_what_the_sums_hold(
    model: nn.Module, dataset: StoppingSet, tmp_path: Path
) -> None:
    def ablate(data: Any, **more: Any) -> xr.Dataset:
        return ul.unit_ablation(model, data, batch_size=BATCH, score=counting_score, **more)

    def rows() -> int:
        total = sum(scored_rows)
        scored_rows.clear()
        return total

    dataset.read = 0
    ablate(dataset)
    whole, file = rows(), tmp_path / "sums"
    stopped(ablate, dataset, dataset.read - SAMPLES // 4, checkpoint=file)
    rows()
    ablate(dataset, checkpoint=file)
    assert rows() < 0.5 * whole


def test_checkpoint__of_drawn_pairs_keeps_the_pilot(
    model: nn.Module, dataset: StoppingSet, tmp_path: Path, stopping: StoppedAfterSaves
) -> None:
    file = tmp_path / "sums"

    def ablate(data: Any = dataset, **more: Any) -> xr.Dataset:
        return ul.unit_ablation(model, data, tolerance=0.01, checkpoint=file, **more)

    assert stopping.run(ablate, 1) is None
    pilot = tmp_path / "sums.pilot"
    assert [*tmp_path.iterdir()] == [pilot]
    assert stopping.progress[0]["steps"] == 1
    refused("of other settings than this call", lambda: ablate(value="mean"))
    other = TensorDataset(dataset.tensors[0] + 1, dataset.tensors[1])
    refused("over other samples than the data set gives now", lambda: ablate(other))
    assert stopping.run(ablate, 4) is None
    assert sorted(tmp_path.iterdir()) == [file, pilot]
    whole = ul.unit_ablation(model, dataset, tolerance=0.01)
    assert stopping.run(ablate).identical(whole)
    assert [*tmp_path.iterdir()] == []


def without_gradient(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    losses = nn.functional.cross_entropy(output.double(), targets.abs(), reduction="none")
    return losses.detach() if (targets == 3).any() else losses


def test_checkpoint__keeps_that_no_gradient_predicts(
    model: nn.Module, dataset: StoppingSet, tmp_path: Path, stopping: StoppedAfterSaves
) -> None:
    targets = dataset.tensors[1]
    targets[:] = torch.where(targets == 3, 2, targets)
    calls: dict[str, Any] = {"rate": 0.5, "batch_size": 24, "score": without_gradient}
    pilot = set(_pilot_positions(SimpleNamespace(samples=SAMPLES, seed=0)).tolist())
    targets[next(place for place in range(24, 48) if place not in pilot)] = 3

    def ablate(checkpoint: Path | None = tmp_path / "sums") -> xr.Dataset:
        return ul.unit_ablation(model, dataset, checkpoint=checkpoint, **calls)

    whole = ablate(None)
    assert "drawn_without_gradient" in whole.attrs
    stopping.run(ablate)
    third = [n for n, at in enumerate(stopping.progress, 1) if at["samples"] == 48 and at["steps"]]
    assert stopping.run(ablate, third[0]) is None
    assert stopping.run(ablate).identical(whole)


def test_checkpoint__of_several_variants_keeps_finished_ones(
    model: nn.Module, dataset: StoppingSet, tmp_path: Path
) -> None:
    variants = [("zero", "units"), ("zero", "random")]

    def curves(data: Any, **more: Any) -> xr.Dataset:
        return ablation_curves(model, data, variants, orders=2, points=4, batch_size=BATCH, **more)

    whole, file = curves(dataset), tmp_path / "sums"
    dataset.read = 0
    curves(dataset)
    stopped(curves, dataset, dataset.read - 20, checkpoint=file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sums.0", "sums.1"]
    assert curves(dataset, checkpoint=file).identical(whole)
    assert [*tmp_path.iterdir()] == []


def test_checkpoint__keeps_what_makes_the_result_doubtful(
    model: nn.Module, dataset: StoppingSet, tmp_path: Path
) -> None:
    dataset.tensors[0][2] = np.nan
    whole = ul.unit_ablation(model, dataset, batch_size=BATCH)
    file = tmp_path / "sums"

    def ablate(data: Any, **more: Any) -> xr.Dataset:
        return ul.unit_ablation(model, data, batch_size=BATCH, **more)

    dataset.read = 0
    ablate(dataset)
    stopped(ablate, dataset, dataset.read - 20, checkpoint=file)
    assert ablate(dataset, checkpoint=file).attrs["doubts"] == whole.attrs["doubts"]


@pytest.fixture
def saved(model: nn.Module, dataset: StoppingSet, tmp_path: Path) -> Path:
    file = tmp_path / "sums.partial"

    def ablate(data: Any, **more: Any) -> xr.Dataset:
        return ul.unit_ablation(model, data, batch_size=BATCH, **more)

    dataset.read = 0
    ablate(dataset)
    stopped(ablate, dataset, dataset.read - 20, checkpoint=file)
    return file


def refused(match: str, call: Callable[[], Any]) -> None:
    with pytest.raises(SavedSumsError, match=f"^[^\n]*{match}[^\n]*delete the file[^\n]*$"):
        call()


def test_checkpoint__of_another_call_is_refused(
    saved: Path, model: nn.Module, dataset: StoppingSet
) -> None:
    def ablate(network: nn.Module = model, data: Any = dataset, **more: Any) -> xr.Dataset:
        settings = {"batch_size": BATCH, **more}
        return ul.unit_ablation(network, data, checkpoint=saved, **settings)

    content = saved.read_bytes()
    torch.manual_seed(3)
    other = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 4))
    refused("of another network than this call", lambda: ablate(other))
    refused("of other settings than this call", lambda: ablate(value="mean"))
    refused("of other settings than this call", lambda: ablate(units=3))
    refused("of another part than this call", lambda: ablate(part=(0, 2)))
    refused("of other arithmetic .* 16 samples per batch", lambda: ablate(batch_size=16))
    refused("of other arithmetic .* memory_gb 2, not .* memory_gb 1", lambda: ablate(memory_gb=1))
    inputs, targets = dataset.tensors
    other_set = TensorDataset(inputs, targets.roll(1))
    refused("over other samples than the data set gives now", lambda: ablate(data=other_set))
    refused(
        "of another function",
        lambda: ul.noise_robustness(model, dataset, [1.0], variance=np.ones(15), checkpoint=saved),
    )
    assert saved.read_bytes() == content
    ablate()
    assert not saved.exists()


@pytest.mark.parametrize("stated", [{"format": 1}, {"code_hash": "0"}])
def test_checkpoint__of_another_version_is_refused(
    stated: dict[str, Any], saved: Path, model: nn.Module, dataset: StoppingSet
) -> None:
    trailer = read_trailer(saved)
    assert trailer is not None
    content = read_hashed(saved, error=SavedSumsError, remedy="")
    write_hashed(saved, content, {**trailer.provenance, **stated})
    refused(
        "of another version",
        lambda: ul.unit_ablation(model, dataset, batch_size=BATCH, checkpoint=saved),
    )


@pytest.mark.parametrize("changed", [{"steps": 10**6}, {"rows": 1}, {"samples": 3}])
def test_checkpoint__of_other_steps_is_refused(
    changed: dict[str, int],
    model: nn.Module,
    dataset: StoppingSet,
    tmp_path: Path,
    stopping: StoppedAfterSaves,
) -> None:
    file = tmp_path / "sums"

    def ablate() -> xr.Dataset:
        return ul.unit_ablation(model, dataset, batch_size=40, checkpoint=file)

    assert stopping.run(ablate, 3) is None
    trailer = read_trailer(file)
    assert trailer is not None
    content = read_hashed(file, error=SavedSumsError, remedy="")
    progress = {**trailer.provenance["progress"], **changed}
    write_hashed(file, content, {**trailer.provenance, "progress": progress})
    refused("sums of other steps than this call makes", ablate)
    assert file.exists()


@pytest.mark.parametrize("seed", range(8))
def test_checkpoint__that_is_damaged_is_refused(
    seed: int, saved: Path, model: nn.Module, dataset: StoppingSet
) -> None:
    content = bytearray(saved.read_bytes())
    place = random.Random(seed).randrange(len(content))
    if seed % 2:
        content[place] ^= 1 << seed % 8
    else:
        del content[place:]
    saved.write_bytes(content)
    refused("", lambda: ul.unit_ablation(model, dataset, batch_size=BATCH, checkpoint=saved))


def test_checkpoint__in_no_folder_is_refused(
    model: nn.Module, dataset: StoppingSet, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=r"^checkpoint is .* lies in no folder .*; make the"):
        ul.unit_ablation(model, dataset, checkpoint=tmp_path / "none" / "sums")
    with pytest.raises(ArgumentError, match=r"^checkpoint is .* which is a folder"):
        ul.unit_ablation(model, dataset, checkpoint=tmp_path)


def test_checkpoint__that_the_disk_refuses_costs_a_warning_alone(
    model: nn.Module,
    dataset: StoppingSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_sums, "replacing_hashed", full)
    table = ul.unit_ablation(model, dataset, batch_size=BATCH, checkpoint=tmp_path / "sums")
    assert table.identical(ul.unit_ablation(model, dataset, batch_size=BATCH))
    assert "the sums cannot be saved ([Errno 28] No space left on device)" in caplog.text


class SlowSet(TensorDataset):
    """A data set whose items take two milliseconds."""

    def __getitem__(self, index: Any) -> Any:
        time.sleep(0.002)
        return super().__getitem__(index)


def begin(call: Callable[..., xr.Dataset], data: Any, out: Path, file: Path | None) -> int:
    """Run a call in a process of its own, which writes the table; return the process."""
    process = os.fork()
    if process:
        return process
    try:
        torch.set_num_threads(1)  # threads of the parent are not in the child
        table = call(data, checkpoint=file)
        out.write_bytes(pickle.dumps(table))
    finally:
        os._exit(0)


def wait_until(happened: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_checkpoint__of_a_killed_process(
    call: Callable[..., xr.Dataset], dataset: StoppingSet, tmp_path: Path
) -> None:
    undisturbed, out, file = tmp_path / "whole", tmp_path / "out", tmp_path / "sums"
    slow = SlowSet(*dataset.tensors)
    call(dataset, checkpoint=file)  # what the first call imports or compiles is in the children
    begun = time.monotonic()
    os.waitpid(begin(call, slow, undisturbed, None), 0)
    seconds, chance = time.monotonic() - begun, random.Random(0)
    expected = pickle.loads(undisturbed.read_bytes())
    goes_on = 0
    for number in range(KILLS):
        out.unlink(missing_ok=True)
        goes_on += file.exists()
        process = begin(call, slow, out, file)
        wait_until(lambda: file.exists() or out.exists())  # the first save, or the end
        time.sleep(chance.uniform(0.0, 0.8) * seconds if number else 0.0)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    os.waitpid(begin(call, slow, out, file), 0)
    table = pickle.loads(out.read_bytes())
    assert table.identical(expected)
    for name, array in expected.items():
        assert table[name].values.tobytes() == array.values.tobytes()
    assert not file.exists()
    assert goes_on
