"""The memory of perturbations, beside model and data set, is at most the allowed memory."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from unitlens.model.memory_watch import MemoryWatch
from unitlens.model.network import UnitNetwork

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "peak_memory.py"

ASKED = {
    "convnet": (0.1, 2.0),
    "double": (0.3,),
    "untraceable": (0.2,),
    "mlp": (0.1, 0.3),
    "resnet": (0.15,),
}


@pytest.fixture(scope="module")
def peaks(tmp_path_factory):
    """Return the bytes by which each measure raises the peak, by network and memory_gb."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("no peak of memory to be read here")
    path = tmp_path_factory.mktemp("memory") / "peaks.json"
    asked = [f"{name}={','.join(map(str, budgets))}" for name, budgets in ASKED.items()]
    command = [sys.executable, SCRIPT, path, *asked]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("network", "memory_gb"), [(name, gb) for name, budgets in ASKED.items() for gb in budgets]
)
def test_peak__stays_below_memory_gb(peaks, network, memory_gb):
    raised = peaks[network][str(memory_gb)]

    assert len(raised) >= 4
    assert max(raised.values()) < memory_gb * 1e9, raised


def test_peak__is_above_a_small_memory_gb_where_much_is_allowed(peaks):
    """So the limit alone keeps the peaks low."""
    raised = peaks["convnet"]["2.0"]

    assert min(raised["few units"], raised["one layer"], raised["first order"]) > 0.1e9, raised


def test_watch__counts_what_is_alive_and_what_was():
    given = torch.zeros(1000)

    with MemoryWatch() as memory:
        doubled = given * 2
        view = doubled[10:].view(-1, 10)
        view += 1
        kept = (given + 1) + doubled  # the first sum is gone after it
        del given

    assert kept.nbytes == doubled.nbytes == 4000
    assert (memory.alive, memory.peak, memory.total) == (8000, 12000, 12000)


@pytest.mark.parametrize(
    ("dtype", "groups", "scratch"),
    [
        (torch.float32, 1, (4 * 8 * 8 + 6 * 8 * 8) * 4),  # what is read and put out, in order
        (torch.float64, 1, 4 * 9 * 8 * 8 * 8),  # patches of nine positions of each channel
        (torch.float64, 2, 2 * 9 * 8 * 8 * 8 + 6 * 8 * 8 * 8),  # of a group, and the parts joined
    ],
)
def test_watch__counts_the_scratch_of_convolutions(dtype, groups, scratch):
    module = nn.Conv2d(4, 6, 3, padding=1, groups=groups, bias=False).to(dtype)
    images = torch.zeros(1, 4, 8, 8, dtype=dtype)

    with torch.no_grad(), MemoryWatch() as memory:
        output = module(images)

    assert memory.alive == output.nbytes
    assert memory.peak == output.nbytes + scratch


def test_watch__looks_into_attention():
    module = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    tokens = torch.zeros(3, 50, 16)

    with torch.no_grad(), MemoryWatch() as memory:
        module(tokens, tokens, tokens)

    assert memory.peak > 3 * 2 * 50 * 50 * 4  # the weights of each head
    assert torch.backends.mha.get_fastpath_enabled()


def test_network__peak_of_a_pass_is_that_of_its_widest_operation():
    """Of three convolutions (4, 32, 2 channels on 8 x 8): values of the second, and copies."""
    channels = (3, 4, 32, 2)
    convolutions = (nn.Conv2d(*pair, 3, padding=1) for pair in pairwise(channels))
    model = nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(2 * 64, 5))
    with UnitNetwork(model, torch.zeros(2, 3, 8, 8)) as network:
        assert network.memory.peak == 2 * (4 + 32) * 8 * 8 * 4
