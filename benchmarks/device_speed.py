"""Speed of perturbations on a device, against hooks and Captum on the same device."""

import importlib.util

import torch
import torchvision
import xarray as xr
from torch.utils.data import TensorDataset

import unitlens as ul
from device_measuring import row, timed
from device_networks import make, sized
from needed_work import Work
from peers import ablate_by_captum, ablate_by_hooks, captum_mask, pass_with_masks, pass_with_noise

SAMPLES = {"mlp": 10_000, "convnet": 1000, "residual": 1000, "resnet50": 64}
MOST_ROWS = 4096  # samples of a batch of hooks
SOME_UNITS = 8  # that peers ablate; their time is scaled up
SETS, DRAWS, SCALES = 21, 2, [0.5, 1.0]


def subject(name, device, size):
    """Return a network on a device, its inputs and labels there, and a data set of them."""
    samples = sized(SAMPLES[name], size, 32)
    if name == "resnet50":
        torch.manual_seed(0)
        model = torchvision.models.resnet50().eval()
        side = 224 if size > 0.1 else 64
        inputs, labels = torch.randn(samples, 3, side, side), torch.arange(samples) % 10
    else:
        model, inputs, labels = make(name, size, samples)
    inputs, labels = inputs.to(device), labels.to(device)
    return model.to(device), inputs, labels, TensorDataset(inputs, labels)


def speed(device, size):
    """Time of all units against a loop of forward hooks, and Captum, on the same device."""
    rows = []
    for name in SAMPLES:
        model, inputs, labels, dataset = subject(name, device, size)
        chosen = {"units": sized(512, size, 16)} if name == "resnet50" else {}
        ours = timed(lambda m=model, d=dataset, c=chosen: ul.unit_ablation(m, d, **c), device, 0.0)
        table = ul.unit_ablation(model, dataset, samples=4, **chosen)
        units = [*zip(table.layer.values, table.channel.values.tolist(), strict=True)]
        some = units[:: max(1, len(units) // SOME_UNITS)]
        batch, classes = min(len(inputs), MOST_ROWS), table.sizes["class"]
        if name == "resnet50":
            batch = min(batch, 256)

        def hooks(given=(model, inputs, labels, some), classes=classes, batch=batch):
            ablate_by_hooks(*given, classes=classes, batch=batch)

        theirs = timed(hooks, device, 0.0) * (1 + len(units)) / (1 + len(some))
        rows.append(row(f"{name}, {len(units)} units, {len(inputs)} samples", ours, "s"))
        rows.append(row(f"{name}: needed", _needed(model, inputs, units) / ours / 1e12, "TFLOP/s"))
        rows.append(row(f"{name}: as fast as hooks", theirs / ours, "x"))
        if name == "mlp" and importlib.util.find_spec("captum"):
            captum = timed(lambda g=(model, inputs, labels): _captum(*g), device, 0.0)
            rows.append(row("mlp: as fast as Captum", captum * len(units) / SOME_UNITS / ours, "x"))
        model.to("cpu")
    return rows


def _captum(model, inputs, labels):
    layer = ul.unit_layers(model, inputs[:2])[0]
    mask = captum_mask(list(range(SOME_UNITS)), layer.units, 2).to(inputs.device)
    ablate_by_captum(
        model, inputs, labels, {layer.name: mask}, batch=len(inputs), perturbations=SOME_UNITS
    )


def _needed(model, inputs, units):
    """Return the operations of all passes behind the units, as if each reached every sample."""
    device = inputs.device
    work = Work(model.to("cpu"), inputs[:2].cpu())
    costs = {layer: work.behind_one(layer) for layer, _ in units}
    model.to(device)
    return 2 * len(inputs) * (work.total + sum(costs[layer] for layer, _ in units))


def curves(device, size):
    """Time of cumulative curves against masks by hooks on the same device."""
    rows = []
    for name in ("mlp", "convnet"):
        model, inputs, labels, dataset = subject(name, device, size)
        ours = timed(
            lambda m=model, d=dataset: ul.cumulative_ablation(m, d, orders=2, points=SETS),
            device, 0.0,
        )  # fmt: skip
        layers = ul.unit_layers(model, inputs[:2])
        maps = {layer.name: layer.units for layer in layers}
        sets = [
            {
                layer.name: torch.ones(
                    layer.units, *[1] * (len(layer.shape) - 1), device=inputs.device
                )
                for layer in layers
            }
            for _ in range(3)
        ]
        batch = min(len(inputs), MOST_ROWS)

        def masks(given=(model, inputs, labels, sets), batch=batch):
            pass_with_masks(*given, batch=batch)

        theirs = timed(masks, device, 0.0) / len(sets) * (2 * (SETS - 2) + 2)
        rows.append(row(f"{name}, curves of {sum(maps.values())} units", ours, "s"))
        rows.append(row(f"{name}, curves: as fast as masks by hooks", theirs / ours, "x"))
        model.to("cpu")
    return rows


def noise(device, size):
    """Time of noise against hooks that add the same noise on the same device."""
    model, inputs, labels, dataset = subject("convnet", device, size)
    ones = xr.ones_like(ul.unit_ablation(model, dataset, samples=4)["loss_increase"])

    def ours():
        ul.noise_robustness(model, dataset, SCALES, variance=ones, draws=DRAWS)

    layers = {
        layer.name: (torch.ones(layer.units, device=inputs.device), 1 + len(layer.shape))
        for layer in ul.unit_layers(model, inputs[:2])
    }

    def theirs():
        pass_with_noise(
            model, inputs, labels, layers, scales=SCALES, draws=DRAWS, seed=0,
            batch=min(len(inputs), MOST_ROWS),
        )  # fmt: skip

    taken = timed(ours, device, 0.0)
    return [
        row("convnet, noise", taken, "s"),
        row("convnet, noise: as fast as hooks", timed(theirs, device, 0.0) / taken, "x"),
    ]
