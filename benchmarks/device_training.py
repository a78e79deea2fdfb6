"""Trainings of benchmarks/device.py: killed, resumed, and timed against a bare loop."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from device_networks import sized
from unitlens.config.networks import RunSpec
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.training.checkpoints import load_checkpoint
from unitlens.training.models import build_model
from unitlens.training.train import train

WIDTHS, BATCH = [512, 512], 128
TRAIN = """
import sys, json
from pathlib import Path
from unitlens.config.networks import RunSpec
from unitlens.training.train import train
spec, data, out, device = sys.argv[1:]
train(RunSpec.model_validate(json.loads(spec)), Path(data), Path(out), device=device)
"""


def small_run(epochs):
    """Return the run of a network on the data set digits."""
    return RunSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": {"name": "mlp", "widths": WIDTHS},
            "training": {"epochs": epochs, "learning_rate": 0.01, "batch_size": BATCH},
        }
    )


def training_times(device, size):
    """Return seconds of an epoch, of ours and of a bare loop, and whether a killed one differs."""
    epochs = sized(200, size, 4)
    spec = small_run(epochs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        prepare_dataset(spec.dataset, data, data=data)
        start = time.perf_counter()
        train(spec, data, folder / "whole", device=device)
        ours = (time.perf_counter() - start) / epochs
        _kill_once_it_has_saved(spec, data, folder / "killed", device)
        train(spec, data, folder / "killed", device=device)
        whole, resumed = (
            load_checkpoint(folder / which)[0].state_dict() for which in ("whole", "killed")
        )
        differs = any(not torch.equal(whole[key], resumed[key]) for key in whole)
        bare = _bare_epoch(spec, load_dataset(data, "train"), device)
    return ours, bare, differs


def _kill_once_it_has_saved(spec, data, out, device):
    given = [spec.model_dump_json(), str(data), str(out), str(device)]
    job = subprocess.Popen([sys.executable, "-c", TRAIN, *given])
    end = time.monotonic() + 60
    while job.poll() is None and time.monotonic() < end and not any(out.glob("resume/*")):
        time.sleep(0.05)
    job.kill()
    job.wait()


def _bare_epoch(spec, dataset, device, epochs=3):
    """Return the seconds of an epoch of a plain loop over tensors that are on the device."""
    model = build_model(spec.model, input_shape=dataset.input_shape, classes=10, seed=0).to(device)
    inputs, labels = (part.to(device) for part in dataset.batch(range(len(dataset))))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    best = float("inf")
    for _ in range(epochs):
        start = time.perf_counter()
        order = torch.randperm(len(inputs), device=inputs.device)
        for batch in order.split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        next(model.parameters()).detach().sum().item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return best
