"""Write by how many bytes each perturbation of networks raises the peak of resident memory.

    python peak_memory.py FILE NETWORK=MEMORY_GB[,MEMORY_GB ...] ...

Everything is called on two samples first, so that libraries are loaded and kernels compiled. All
is done in one process, since loading takes longer than most of it.
"""

import ctypes
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.utils.data import Subset, TensorDataset
from torchvision.models import resnet18

import unitlens as ul
from unitlens.variables.unit_index import unit_coordinates

SELF = Path("/proc/self")


def growth(action):
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    (SELF / "clear_refs").write_text("5")
    before, code_before = status("VmRSS"), status("RssFile")
    action()
    # A system that is short of memory drops pages of libraries, which come back when they run.
    return status("VmHWM") - before - max(0, status("RssFile") - code_before)


def status(key):
    return int(re.search(rf"{key}:\s+(\d+) kB", (SELF / "status").read_text())[1]) * 1024


def convnet(layers):
    parts, before = [], 3
    for _ in range(layers):
        parts += [nn.Conv2d(before, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        before = 64
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp():
    sizes = pairwise((784, 2000, 2000, 2000))
    parts = [part for one, two in sizes for part in (nn.Linear(one, two), nn.ReLU())]
    return nn.Sequential(*parts, nn.Linear(2000, 10))


class Untraceable(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(inputs) if inputs.sum() < torch.inf else inputs


NETWORKS = {  # the network, samples, their shape, and a layer whose units are all ablated
    "convnet": (lambda: convnet(3), 48, (3, 64, 64), "8"),
    "double": (lambda: convnet(2).double(), 16, (3, 64, 64), "5"),
    "untraceable": (lambda: Untraceable(convnet(2)), 40, (3, 64, 64), None),
    "mlp": (mlp, 2000, (784,), "5"),
    "resnet": (lambda: resnet18(num_classes=10), 32, (3, 96, 96), "layer4.1.relu_1"),
}


def measures(model, layer, example):
    units = [(one.name, one.depth, one.units) for one in ul.unit_layers(model, example)]
    coordinates = unit_coordinates(units)
    ones = np.ones(sum(number for *_, number in units))
    variance = xr.DataArray(ones, coords=coordinates, dims="unit")
    yield "few units", lambda data, gb: ul.unit_ablation(model, data, units=3, memory_gb=gb)
    if layer is not None:
        yield (
            "one layer",
            lambda data, gb: ul.unit_ablation(
                model, data, layers=[layer], value="resample", memory_gb=gb
            ),
        )
    yield (
        "first order",
        lambda data, gb: ul.unit_ablation(model, data, units=1, first_order=True, memory_gb=gb),
    )
    yield (
        "cumulative",
        lambda data, gb: ul.cumulative_ablation(model, data, orders=1, points=4, memory_gb=gb),
    )
    yield (
        "noise",
        lambda data, gb: ul.noise_robustness(
            model, data, [0.1, 0.2], variance=variance, draws=1, memory_gb=gb
        ),
    )


def peaks(name, budgets):
    build, samples, shape, layer = NETWORKS[name]
    torch.manual_seed(0)
    model = build().eval()
    inputs = torch.randn(samples, *shape, dtype=next(model.parameters()).dtype)
    data = TensorDataset(inputs, torch.randint(10, (samples,)))
    grown = {budget: {} for budget in budgets}
    for measure, call in measures(model, layer, inputs[:1]):
        call(Subset(data, range(2)), 2.0)
        for budget, found in grown.items():
            found[measure] = growth(lambda call=call, budget=budget: call(data, float(budget)))
    return grown


def main(path, *asked):
    wanted = dict(one.split("=") for one in asked)
    found = {name: peaks(name, budgets.split(",")) for name, budgets in wanted.items()}
    Path(path).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
