"""The paper's protocol, and by how much an experiment of ours is smaller than it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from unitlens.analysis.curve_summaries import random_orders
from unitlens.config.base import parse_at
from unitlens.config.networks import RunSpec
from unitlens.config.runs import dataset_name
from unitlens.reproduction.claims import CHANNELS, MAPS
from unitlens.reproduction.evidence import Runs

ORDERS = 10  # random orders (M)


@dataclass(frozen=True)
class Protocol:
    """What the paper did, as far as it is known; None and 0 where it is not.

    Attributes
    ----------
    dataset, train_samples, model, widths, epochs
        What was trained, and for how long.
    networks
        In all of the experiment.
    measurement
        The file of a network that the claims rest on.
    ablated
        Units of a network that are ablated.
    """

    measurement: str
    dataset: str = ""
    train_samples: int = 0
    model: str = ""
    widths: tuple[int, ...] = ()
    epochs: int = 0
    networks: int = 0
    ablated: int = 0


def _mnist(measurement: str, width: int, epochs: int = 640, ablated: int = 0) -> Protocol:
    widths = (width, width)
    return Protocol(measurement, "mnist", 60_000, "mlp", widths, epochs, ablated=ablated)


def _cifar10(measurement: str, networks: int = 0, ablated: int = 0) -> Protocol:
    return Protocol(measurement, "cifar10", 50_000, "convnet", CHANNELS, 100, networks, ablated)


def _imagenet(measurement: str) -> Protocol:
    return Protocol(measurement, "imagenet", 1_281_167, "resnet50")


_CURVES, _NOISE = "cumulative_ablation", "noise_robustness"
_MEASURES, _UNITS = "unit_measures", "unit_ablation"
PROTOCOLS: dict[str, Protocol] = {
    "mnist_ablation": _mnist(_CURVES, 512, ablated=1024),
    "cifar10_ablation": _cifar10(_CURVES, ablated=MAPS),
    "imagenet_ablation": _imagenet(_CURVES),
    "mnist_noise": _mnist(_NOISE, 512),
    "cifar10_noise": _cifar10(_NOISE),
    "same_data": _cifar10(_CURVES, networks=200, ablated=MAPS),
    "early_stopping": _mnist(_CURVES, 2048),
    "hyperparameter_selection": _cifar10(_CURVES, networks=192),
    "dropout": _mnist(_CURVES, 2048, epochs=5000),
    "batch_norm_ablation": _cifar10(_CURVES, ablated=MAPS),
    "batch_norm_selectivity": _cifar10(_MEASURES, networks=8),
    "batch_norm_information": _cifar10(_MEASURES, networks=8),
    "mnist_importance": _mnist(_UNITS, 128),
    "cifar10_importance": _cifar10(_UNITS),
    "imagenet_importance": _imagenet(_UNITS),
    "clamping": _cifar10(_CURVES),
    "mnist_l1_norm": _mnist(_MEASURES, 128),
    "cifar10_l1_norm": _cifar10(_MEASURES),
    "imagenet_l1_norm": _imagenet(_MEASURES),
    "mnist_information": _mnist(_UNITS, 128),
    "cifar10_information": _cifar10(_UNITS),
    "imagenet_information": _imagenet(_UNITS),
}


def reductions(group: str, runs: Runs) -> tuple[str, ...]:
    """Say in what the experiment behind a group of results differs from the paper's in size.

    Parameters
    ----------
    group
        Name of the group.
    runs
        The networks of the experiments that are named for it.

    Returns
    -------
    One text a difference, computed from the specs of the runs and from what was measured; none
    for what is asked beyond the paper.
    """
    if group not in PROTOCOLS:
        return ()
    paper = PROTOCOLS[group]
    specs = [_spec(runs.results.directory, name) for name in runs.names]
    texts = (
        *_trained(paper, runs, specs),
        _differs(str(len(specs)), paper.networks, "networks"),
        *_measured(paper, runs, specs),
    )
    return tuple(text for text in texts if text)


def _spec(directory: Path, run: str) -> RunSpec:
    path = directory / run / "checkpoint.json"
    return parse_at(RunSpec, json.loads(path.read_text())["spec"], (str(path), "spec"))


def _trained(paper: Protocol, runs: Runs, specs: Sequence[RunSpec]) -> tuple[str, ...]:
    asked = [spec.training.epochs if spec.training else 0 for spec in specs]
    epochs = _differs(_range(asked), paper.epochs, "epochs")
    reached = _range(runs.table["epoch"].values.tolist())
    if epochs and reached != _range(asked):
        epochs += f"; trained for {reached}"
    sizes = (_samples(runs.results.directory, spec, "train") for spec in specs if spec.training)
    samples = [size for size in sizes if size]
    pixels = [size for spec in specs if (size := spec.dataset.image_size)]
    return (
        _differs(_listed(spec.dataset.name for spec in specs), paper.dataset, "data set"),
        _differs(_range(samples), paper.train_samples, "training samples") if samples else "",
        f"images of {_range(pixels)} pixels a side" if pixels else "",
        _differs(_listed(spec.model.name for spec in specs), paper.model, "model"),
        _differs(_listed(map(_widths, specs)), " ".join(map(str, paper.widths)), "widths"),
        epochs,
    )


def _widths(spec: RunSpec) -> str:
    factor = getattr(spec.model, "width", 1.0)
    units = getattr(spec.model, "widths", getattr(spec.model, "channels", ()))
    return " ".join(str(max(1, round(factor * count))) for count in units)


def _measured(paper: Protocol, runs: Runs, specs: Sequence[RunSpec]) -> tuple[str, ...]:
    """Compare samples, units and orders, of the files of the networks."""
    directory, texts = runs.results.directory, []
    files = [directory / name / f"{paper.measurement}.nc" for name in runs.names]
    known = [(spec, file) for spec, file in zip(specs, files, strict=True) if file.exists()]
    opened = [xr.open_dataset(file, engine="h5netcdf") for _, file in known]
    scored = [
        (int(table.attrs["samples"]), table.attrs["split"], spec)
        for (spec, _), table in zip(known, opened, strict=True)
        if "samples" in table.attrs
    ]
    whole = [_samples(directory, spec, split) for _, split, spec in scored]
    some = [samples for samples, _, _ in scored]
    if any(0 < few < all_of for few, all_of in zip(some, whole, strict=True)):
        splits = {"train": "training", "test": "test"}
        told = _listed(splits[split] for _, split, _ in scored)
        texts.append(f"measured on {_range(some)} of {_range(whole)} {told} samples")
    if paper.measurement == _CURVES and opened:
        units = [int(table["ablated_units"].max()) for table in opened]
        orders = [random_orders(table).sizes["order"] for table in opened]
        texts.append(_differs(_range(units), paper.ablated, "units ablated"))
        texts.append(_differs(_range(orders), ORDERS, "random orders"))
    for table in opened:
        table.close()
    return tuple(texts)


def _samples(directory: Path, spec: RunSpec, split: str) -> int:
    """Return the size of a split, 0 where its record is no longer there."""
    path = directory / "datasets" / dataset_name(spec.dataset) / "dataset.json"
    if not path.exists():
        return getattr(spec.dataset, f"{split}_samples") or 0
    return int(json.loads(path.read_text())["splits"][split]["samples"])


def _differs(ours: str, paper: str | int, what: str) -> str:
    """Say that ours differs, or nothing where it does not or the paper's is not known."""
    theirs = f"{paper:,}" if isinstance(paper, int) else paper
    if not paper or ours == theirs:
        return ""
    return f"{what} {ours or 'none'}, in the paper {theirs}"


def _listed(values: object) -> str:
    return ", ".join(dict.fromkeys(values))  # type: ignore[call-overload]


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
