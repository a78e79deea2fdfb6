"""Differences in size between an experiment of ours and the paper's."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import xarray as xr

from unitlens.analysis.curve_summaries import random_orders
from unitlens.config.networks import RunSpec
from unitlens.config.runs import dataset_name
from unitlens.errors import TableError
from unitlens.hashed_files import read_json
from unitlens.reproduction.experiment_runs import Runs
from unitlens.reproduction.protocol import CURVES, RANDOM_ORDERS, PaperProtocol
from unitlens.store.backend.netcdf import read_netcdf
from unitlens.tables.run_table import read_network_record


def size_differences(paper: PaperProtocol | None, runs: Runs) -> tuple[str, ...]:
    """Describe the differences in size between our experiments and the paper's.

    Parameters
    ----------
    paper
        The paper's protocol; None for claims beyond the paper.
    runs
        The networks of our experiments.

    Returns
    -------
    A text for each difference, computed from the specs of the runs and from what was measured;
    none for claims beyond the paper.
    """
    if paper is None:
        return ()
    specs = [_read_spec(runs.results.directory, name) for name in runs.names]
    differences = (
        *_training_differences(paper, runs, specs),
        _difference("networks", str(len(specs)), paper.networks),
        *_measurement_differences(paper, runs, specs),
    )
    return tuple(text for text in differences if text)


def _read_spec(directory: Path, run: str) -> RunSpec:
    return read_network_record(directory, run).spec


def _training_differences(
    paper: PaperProtocol, runs: Runs, specs: Sequence[RunSpec]
) -> tuple[str, ...]:
    configured = [spec.training.epochs if spec.training else 0 for spec in specs]
    epochs = _difference("epochs", _range_text(configured), paper.epochs)
    trained = _range_text(runs.table["epoch"].values.tolist())
    if epochs and trained != _range_text(configured):
        epochs += f"; trained for {trained}"
    sizes = (_split_size(runs.results.directory, spec, "train") for spec in specs if spec.training)
    samples = [size for size in sizes if size]
    pixels = [size for spec in specs if (size := spec.dataset.image_size)]
    return (
        _difference("data set", _distinct(spec.dataset.name for spec in specs), paper.dataset),
        _difference("training samples", _range_text(samples), paper.train_samples)
        if samples
        else "",
        f"images of {_range_text(pixels)} pixels a side" if pixels else "",
        _difference("model", _distinct(spec.model.name for spec in specs), paper.model),
        _difference("widths", _distinct(map(_widths, specs)), " ".join(map(str, paper.widths))),
        epochs,
    )


def _widths(spec: RunSpec) -> str:
    factor = getattr(spec.model, "width", 1.0)
    units = getattr(spec.model, "widths", getattr(spec.model, "channels", ()))
    return " ".join(str(max(1, round(factor * count))) for count in units)


def _measurement_differences(
    paper: PaperProtocol, runs: Runs, specs: Sequence[RunSpec]
) -> list[str]:
    """Compare samples, ablated units and random orders, as the files of the networks have them."""
    directory = runs.results.directory
    files = [directory / name / f"{paper.measurement}.nc" for name in runs.names]
    measured = [(spec, file) for spec, file in zip(specs, files, strict=True) if file.exists()]
    tables = [read_netcdf(file) for _, file in measured]
    differences = [_scored_samples(directory, [spec for spec, _ in measured], tables)]
    if paper.measurement == CURVES and tables:
        units = [int(table["ablated_units"].max()) for table in tables]
        orders = [random_orders(table).sizes["order"] for table in tables]
        differences += [
            _difference("units ablated", _range_text(units), paper.ablated_units),
            _difference("random orders", _range_text(orders), RANDOM_ORDERS),
        ]
    return differences


def _scored_samples(directory: Path, specs: Sequence[RunSpec], tables: Sequence[xr.Dataset]) -> str:
    """Say on how many samples networks were measured, if on a part of a split only."""
    scored = [
        (int(table.attrs["samples"]), table.attrs["split"], spec)
        for spec, table in zip(specs, tables, strict=True)
        if "samples" in table.attrs
    ]
    samples = [count for count, _, _ in scored]
    sizes = [_split_size(directory, spec, split) for _, split, spec in scored]
    if not any(0 < count < size for count, size in zip(samples, sizes, strict=True)):
        return ""
    words = {"train": "training", "test": "test"}
    splits = _distinct(words[split] for _, split, _ in scored)
    return f"measured on {_range_text(samples)} of {_range_text(sizes)} {splits} samples"


def _split_size(directory: Path, spec: RunSpec, split: str) -> int:
    """Return the number of samples of a split; 0 if the record of the data set is gone."""
    path = directory / "datasets" / dataset_name(spec.dataset) / "dataset.json"
    if not path.exists():
        return getattr(spec.dataset, f"{split}_samples") or 0
    remedy = "remove the file and run snakemake again: it prepares the data set anew"
    values = read_json(path, error=TableError, remedy=remedy)
    return int(values["splits"][split]["samples"])


def _difference(what: str, ours: str, paper: str | int) -> str:
    """Describe a difference; empty if there is none, or the paper's value is not known."""
    reported = f"{paper:,}" if isinstance(paper, int) else paper
    if not paper or ours == reported:
        return ""
    return f"{what} {ours or 'none'}, in the paper {reported}"


def _distinct(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _range_text(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
