"""The memory limit of a call: given, or what the device has free."""

import numpy as np
import pytest
import torch

import unitlens as ul
from networks_by_hand import mlp, random_pairs
from unitlens.errors import ArgumentError
from unitlens.model.device_memory import memory_limit

GPU = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """Let torch say how much memory a GPU has, and how much of it this process holds."""

    def pretend(*, whole, free, reserved=0, allocated=0):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, whole))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: allocated)

    return pretend


def test_memory_limit__is_what_is_given_on_any_device():
    assert memory_limit(0.5, torch.device("cpu")) == memory_limit(0.5, GPU) == 5e8
    assert memory_limit(np.int64(4), GPU) == memory_limit(np.float32(4), GPU) == 4e9


def test_memory_limit__auto_is_most_of_what_a_gpu_has_free_rounded_down(gpu, monkeypatch):
    monkeypatch.delenv("UNITLENS_JOBS_PER_GPU", raising=False)
    gpu(whole=80e9, free=50e9)
    assert memory_limit("auto", GPU) == 24e9  # of 30
    gpu(whole=80e9, free=10e9, reserved=45e9, allocated=5e9)  # 40 GB are held and unused
    assert memory_limit("auto", GPU) == 24e9
    gpu(whole=80e9, free=30e9)
    assert memory_limit("auto", GPU) == 16e9  # of 18
    assert memory_limit("auto", GPU, weights=10**10) == 12e9  # of 60 % of 20
    gpu(whole=2e9, free=1e9)
    assert memory_limit("auto", GPU) == 0.5e9
    assert memory_limit("auto", torch.device("cpu")) == 2e9


def test_memory_limit__auto_is_the_share_of_a_job_where_jobs_share_a_gpu(gpu, monkeypatch):
    gpu(whole=80e9, free=75e9)
    monkeypatch.setenv("UNITLENS_JOBS_PER_GPU", "4")
    assert memory_limit("auto", GPU) == 12e9
    gpu(whole=80e9, free=15e9)  # others have taken more than their shares
    assert memory_limit("auto", GPU) == 8e9  # of 9


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5", ""])
def test_memory_limit__refuses_another_number_of_jobs(gpu, monkeypatch, text):
    gpu(whole=80e9, free=75e9)
    monkeypatch.setenv("UNITLENS_JOBS_PER_GPU", text)
    with pytest.raises(ArgumentError, match=f"^UNITLENS_JOBS_PER_GPU is '{text}', but must be a"):
        memory_limit("auto", GPU)


def test_unit_ablation__auto_is_the_default_and_two_gigabytes_on_a_cpu():
    model, pairs = mlp(), random_pairs(8, 6)
    by_default = ul.unit_ablation(model, pairs)
    assert by_default.identical(ul.unit_ablation(model, pairs, memory_gb=2))
    assert by_default.identical(ul.unit_ablation(model, pairs, memory_gb="auto"))
