"""Peak memory of perturbations, measured from outside, stays within the budget."""

import subprocess
import sys
from pathlib import Path

import pytest

# The kernel's high-water mark is reset after a call on two samples, which loads what is needed.
PROBE = """
import ctypes
import sys
import torch
from torch import nn
from torch.utils.data import TensorDataset
import xarray as xr
import unitlens as ul
from unitlens.variables import unit_coordinates

torch.manual_seed(0)
torch.set_num_threads(1)
name, function, budget = sys.argv[1], sys.argv[2], float(sys.argv[3])
if name.startswith("convnet"):
    layers = []
    for before in (3, 48, 48):
        layers += [nn.Conv2d(before, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 5))
    inputs, kept = torch.randn(40, 3, 48, 48), {"units": 12}
else:
    model = nn.Sequential(nn.Linear(50, 1500), nn.ReLU(), nn.Linear(1500, 1500), nn.ReLU(),
                          nn.Linear(1500, 5))
    inputs, kept = torch.randn(3000, 50), {"units": 300}
if name.endswith("64"):
    model, inputs = model.double(), inputs.double()
data = TensorDataset(inputs, torch.arange(len(inputs)) % 5)
units = unit_coordinates((l.name, l.depth, l.units) for l in ul.unit_layers(model, inputs[:2]))
variance = xr.DataArray(torch.ones(len(units["layer"])).numpy(), units, "unit")
calls = {
    "unit": lambda d: ul.unit_ablation(model, d, memory_gb=budget, **kept),
    "cumulative": lambda d: ul.cumulative_ablation(model, d, orders=2, points=4, memory_gb=budget),
    "noise": lambda d: ul.noise_robustness(
        model, d, [0.5, 1.0], variance=variance, draws=2, memory_gb=budget
    ),
}
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
calls[function](TensorDataset(inputs[:2], torch.arange(2)))
ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps would hide what comes
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
calls[function](data)
print(status("VmHWM") - before)
"""


def growth(*arguments):
    command = [sys.executable, "-c", PROBE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the high-water mark is Linux's"
)
@pytest.mark.parametrize("function", ["unit", "cumulative", "noise"])
@pytest.mark.parametrize(
    ("network", "budget"), [("convnet", 0.04), ("convnet64", 0.3), ("mlp", 0.06)]
)
def test_perturbations__stay_within_their_budget(network, budget, function):
    assert growth(network, function, budget) < budget * 1e9


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the high-water mark is Linux's"
)
def test_budget__is_what_keeps_them_small():
    assert growth("convnet", "unit", 2.0) > 0.04e9
