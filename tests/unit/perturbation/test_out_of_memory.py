"""Used-up memory is told as what it is, at whichever operation: no layer goes missing by it."""

import logging
import random

import pytest
import torch
import xarray as xr
from torch.utils._python_dispatch import TorchDispatchMode

import unitlens as ul
from networks_by_hand import NETWORKS as BY_HAND
from networks_by_hand import convnet, mlp, random_pairs
from unitlens.errors import SavedSumsError, UsedUpMemoryError
from unitlens.memory_errors import lacks_memory
from unitlens.perturbation import fitting_memory, summed_batches

FAULTS = 25  # of the operations of each call


class FailingAllocator(TorchDispatchMode):
    """Counts operations, and lets the n-th one say that memory is used up."""

    def __init__(self, fails_at=None, error=torch.OutOfMemoryError):
        super().__init__()
        self.count, self._fails_at, self._error = 0, fails_at, error

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        if self.count == self._fails_at:
            raise self._error("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return function(*args, **(kwargs or {}))


def noise(model, pairs):
    units = ul.unit_ablation(model, pairs)["loss_increase"]
    return ul.noise_robustness(model, pairs, [0.5], variance=xr.ones_like(units), draws=2)


CALLS = {
    "unit_ablation": ul.unit_ablation,
    "first_order": lambda *given: ul.unit_ablation(*given, first_order=True),
    "drawn_pairs": lambda *given: ul.unit_ablation(*given, rate=0.5),
    "group_ablation": lambda *given: ul.group_ablation(*given, [[0, 1], [2, 3]]),
    "cumulative_ablation": lambda *given: ul.cumulative_ablation(*given, orders=2, points=3),
    "noise_robustness": noise,
    "network_statistics": ul.network_statistics,
}
NETWORKS = {"mlp": (lambda: mlp().float(), (6,)), "convnet": (lambda: convnet().float(), (2, 8, 8))}


@pytest.mark.parametrize("network", sorted(NETWORKS))
@pytest.mark.parametrize("call", sorted(CALLS))
def test_call__says_that_memory_is_used_up_or_returns_what_it_always_returns(
    call, network, monkeypatch
):
    monkeypatch.setattr(fitting_memory, "HALVINGS", 0)
    make, shape = NETWORKS[network]
    pairs = random_pairs(10, *shape, dtype=torch.float32)
    expected = CALLS[call](make(), pairs)
    with FailingAllocator() as counting:
        CALLS[call](make(), pairs)
    assert counting.count > FAULTS

    raised = []
    for number in sorted(random.Random(0).sample(range(1, counting.count + 1), FAULTS)):
        model = make()
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        try:
            with FailingAllocator(number):
                found = CALLS[call](model, pairs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be this one
            raised.append(error)
        else:
            xr.testing.assert_allclose(found, expected)
        torch.testing.assert_close(model.state_dict(), weights)
    remedy = (
        "batch_size" if call == "network_statistics" else "memory_gb, which is 2, or batch_size"
    )
    others = [error for error in raised if not lacks_memory(error)]
    told = [str(error) for error in raised if isinstance(error, UsedUpMemoryError)]
    assert others == []
    remedy += ", or give the job more memory (mem_mb of its rule on a cluster)"
    assert {line.partition(";")[2] for line in told} == {f" lower {remedy}"}
    assert len(told) > FAULTS / 2
    assert len(raised) > FAULTS / 2


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_lacks_memory__knows_the_errors_of_processors(error):
    assert lacks_memory(error)
    raised = ValueError("the batch cannot be run")
    raised.__cause__ = error
    assert lacks_memory(raised)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not fit"), ValueError("out of memory"), KeyError(1), None]
)
def test_lacks_memory__takes_no_other_error_for_one(error):
    assert not lacks_memory(error)


class Largest(TorchDispatchMode):
    """Notes the most numbers that an operation returns."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


class SmallMemory(TorchDispatchMode):
    """Lets no operation return more than some numbers, as where memory is small."""

    def __init__(self, most):
        super().__init__()
        self._most = most

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.numel() > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return result


ROW_CALLS = {
    "unit_ablation": ul.unit_ablation,
    "mean": lambda *given: ul.unit_ablation(*given, value="mean"),
    "drawn_pairs": lambda *given: ul.unit_ablation(*given, rate=0.5),
}


@pytest.mark.parametrize("name", ["convnet", "residual"])
@pytest.mark.parametrize("call", sorted(ROW_CALLS))
def test_rows__run_in_halves_where_memory_is_small(call, name, caplog):
    build, shape, _ = BY_HAND[name]
    model, pairs = build().eval(), random_pairs(12, *shape)
    expected = ROW_CALLS[call](model, pairs)
    with Largest() as largest:
        ROW_CALLS[call](model, pairs)

    with SmallMemory(0.6 * largest.numbers), caplog.at_level(logging.WARNING):
        found = ROW_CALLS[call](model, pairs)

    xr.testing.assert_allclose(found, expected)
    assert "memory is used up by " in caplog.text
    assert " rows at once: " in caplog.text
    limits = [record.args[1] for record in caplog.records if "rows at once" in record.message]
    assert limits == sorted(limits, reverse=True)  # what did not fit is not tried again


PERTURBATIONS = sorted(set(CALLS) - {"network_statistics"})


@pytest.mark.parametrize("call", PERTURBATIONS)
def test_call__begins_again_with_half_of_its_limit(call, caplog):
    pairs, expected = random_pairs(10, 2, 8, 8), CALLS[call](convnet(), random_pairs(10, 2, 8, 8))
    with FailingAllocator() as counting:
        CALLS[call](convnet(), pairs)
    lines = set()
    for number in sorted(random.Random(1).sample(range(1, counting.count + 1), 8)):
        caplog.clear()
        with FailingAllocator(number), caplog.at_level(logging.WARNING):
            found = CALLS[call](convnet(), pairs)
        xr.testing.assert_allclose(found, expected)
        lines |= {line for line in caplog.messages if "begins again" in line}
    assert {line.partition(" begins")[2] for line in lines} == {" again with 1"}
    assert all(line.startswith("memory is used up with memory_gb=2: ") for line in lines)


@pytest.mark.parametrize("call", PERTURBATIONS)
def test_call__ends_where_a_small_part_of_its_limit_is_too_much(call, caplog):
    model, pairs = convnet(), random_pairs(10, 2, 8, 8)
    # The inputs of three samples, but not their maps.
    with SmallMemory(400), pytest.raises(UsedUpMemoryError, match=r"which is 0\.125, or") as error:
        CALLS[call](model, pairs)
    assert "\n" not in str(error.value)
    limits = [record.args[2] for record in caplog.records if "begins again" in record.message]
    assert limits == [1, 0.5, 0.25, 0.125]


def test_call__with_saved_sums_does_not_begin_again(tmp_path, monkeypatch):
    monkeypatch.setattr(summed_batches, "SECONDS_BETWEEN_SAVES", 0.0)
    checkpoint = tmp_path / "ablation.partial"
    pairs = random_pairs(10, 2, 8, 8)
    given = {"batch_size": 2, "checkpoint": checkpoint}
    expected = ul.unit_ablation(convnet(), pairs, batch_size=2)
    with FailingAllocator() as counting:
        ul.unit_ablation(convnet(), pairs, batch_size=2)
    with FailingAllocator(counting.count * 3 // 4), pytest.raises(UsedUpMemoryError):
        ul.unit_ablation(convnet(), pairs, **given)
    assert checkpoint.exists()

    found = ul.unit_ablation(convnet(), pairs, **given)

    xr.testing.assert_identical(found, expected)


@pytest.mark.parametrize("memory_gb", ["auto", 8])
def test_call__goes_on_with_the_limit_of_its_saved_sums(memory_gb, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(summed_batches, "SECONDS_BETWEEN_SAVES", 0.0)
    checkpoint = tmp_path / "ablation.partial"
    pairs = random_pairs(10, 2, 8, 8)
    expected = ul.unit_ablation(convnet(), pairs, batch_size=2, memory_gb=0.5)
    with FailingAllocator() as counting:
        ul.unit_ablation(convnet(), pairs, batch_size=2, memory_gb=0.5)
    with FailingAllocator(counting.count * 3 // 4), pytest.raises(UsedUpMemoryError):
        ul.unit_ablation(convnet(), pairs, batch_size=2, memory_gb=0.5, checkpoint=checkpoint)

    with caplog.at_level(logging.INFO):
        found = ul.unit_ablation(
            convnet(), pairs, batch_size=2, memory_gb=memory_gb, checkpoint=checkpoint
        )

    assert "goes on after" in caplog.text
    xr.testing.assert_identical(found, expected)


def test_call__with_a_smaller_limit_than_its_saved_sums_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(summed_batches, "SECONDS_BETWEEN_SAVES", 0.0)
    checkpoint = tmp_path / "ablation.partial"
    pairs = random_pairs(10, 2, 8, 8)
    given = {"batch_size": 2, "checkpoint": checkpoint}
    with FailingAllocator() as counting:
        ul.unit_ablation(convnet(), pairs, batch_size=2)
    with FailingAllocator(counting.count * 3 // 4), pytest.raises(UsedUpMemoryError):
        ul.unit_ablation(convnet(), pairs, **given)

    with pytest.raises(SavedSumsError, match=r"memory_gb 2, not of .*memory_gb 1"):
        ul.unit_ablation(convnet(), pairs, memory_gb=1, **given)
