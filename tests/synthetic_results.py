"""A results directory as the workflow leaves it, with made-up but plausible numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from unitlens.config.networks import RunSpec
from unitlens.config.runs import network_name, run_name
from unitlens.hashed_files import hash_bytes, write_json
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.store.backend.netcdf import write_netcdf
from unitlens.tables.tabulate import tabulate
from unitlens.variables.checks import annotate
from unitlens.variables.unit_index import unit_coordinates

CLASSES = 10
SCALES = np.geomspace(0.05, 8.0, 12)
MLP = {"name": "mlp", "widths": [24, 24]}
CONVNET = {"name": "convnet", "channels": [8, 16, 16], "strides": [1, 2, 2]}
EPOCHS = 12
KEPT = (0, 1, 2, 4, 8)


@dataclass(frozen=True)
class Network:
    """One made-up network: what it is, where its units live and how robust it is."""

    spec: RunSpec
    experiments: tuple[str, ...]
    layers: tuple[tuple[str, int, int], ...]

    @property
    def name(self) -> str:
        return run_name(self.spec)

    @property
    def misfit(self) -> float:
        """How far the learning rate and the regulariser are from the best, 0 at the defaults."""
        training = self.spec.training
        rate = abs(np.log10(training.learning_rate / 0.1))
        return float(rate + 0.3 * abs(training.selectivity_regulariser))

    @property
    def robustness(self) -> float:
        """Share of units that can go before accuracy has halved."""
        bonus = 0.12 * bool(getattr(self.spec.model, "batch_norm", False))
        bonus += 0.15 * bool(self.spec.model.dropout)
        bonus -= 0.15 * self.misfit
        return 0.75 - 0.45 * self.spec.dataset.corruption + bonus


def network(
    experiments: tuple[str, ...],
    *,
    corruption: float = 0.0,
    seed: int = 0,
    kept: tuple[float, ...] = (),
    dataset: str = "mnist5k",
    training: dict[str, Any] | None = None,
    **model: Any,
) -> Network:
    values = {
        "dataset": {"name": dataset, "corruption": corruption},
        "model": model or MLP,
        "training": {"epochs": EPOCHS, "checkpoints": kept} | (training or {}),
        "seed": seed,
    }
    spec = RunSpec.model_validate(values)
    widths = getattr(spec.model, "widths", getattr(spec.model, "channels", ()))
    layers = tuple((f"relu{i + 1}", i, width) for i, width in enumerate(widths))
    return Network(spec, experiments, layers)


def default_networks(scale: int = 1) -> list[Network]:
    """Return networks like those of the default experiment, `scale` times as wide."""
    mlp = MLP | {"widths": [scale * width for width in MLP["widths"]]}
    convnet = CONVNET | {"channels": [scale * width for width in CONVNET["channels"]]}
    networks = [
        network(
            ("memorisation",),
            corruption=corruption,
            seed=seed,
            kept=KEPT if (corruption, seed) == (0.5, 0) else (),
            **mlp,
        )
        for corruption in (0.0, 0.5, 1.0)
        for seed in (0, 1)
    ]
    networks += [
        network(("dropout",), corruption=corruption, **mlp, dropout=0.2)
        for corruption in (0.0, 1.0)
    ]
    networks += [network(("batch_norm",), **convnet, batch_norm=flag) for flag in (True, False)]
    return networks


def swept_networks() -> list[Network]:
    """Return networks of a sweep over the learning rate, and of the selectivity regulariser."""
    swept = [("sweep", "learning_rate", rate) for rate in np.geomspace(0.001, 0.1, 6).tolist()]
    swept += [("regulariser", "selectivity_regulariser", alpha) for alpha in (-1.0, -0.5, 0.5, 1.0)]
    return [
        network((experiment,), seed=seed, training={field: value})
        for experiment, field, value in swept
        for seed in (2, 3)
    ]


def write_networks(
    directory: Path, networks: list[Network], *, without: tuple[str, ...] = ()
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Write the files of networks, and return final and kept networks with experiments."""
    final, kept = {}, {}
    for made in networks:
        rng = np.random.default_rng(int(made.name.rsplit("-", 1)[1], 16))
        final[made.name] = made.experiments
        history = _history(made, rng)
        _write_network(directory, made, made.name, history, EPOCHS, rng, without)
        if "history" not in without:
            _save(history, directory / made.name, made.name, "history")
        for epoch in made.spec.training.checkpoints:
            name = network_name(made.name, epoch)
            kept[name] = made.experiments
            _write_network(directory, made, name, history, epoch, rng, without)
    return final, kept


def write_results(
    directory: Path, networks: list[Network] | None = None, *, without: tuple[str, ...] = ()
) -> Path:
    """Write a whole results directory, tables included."""
    final, kept = write_networks(directory, networks or default_networks(), without=without)
    tabulate(directory, final | kept)
    return directory


def _write_network(
    directory: Path,
    made: Network,
    name: str,
    history: xr.Dataset,
    epoch: float,
    rng: np.random.Generator,
    without: tuple[str, ...],
) -> None:
    place = directory / name
    place.mkdir(parents=True)
    inside = epoch != int(epoch)
    now = history.interp(epoch=epoch) if inside else history.sel(epoch=epoch)
    record = {
        "spec": made.spec.model_dump(mode="json"),
        "epoch": int(epoch),
        **({"origin_parts": {"look": f"{epoch}"}} if inside else {}),
        **{score: float(now[score]) for score in now.data_vars},
        "input_shape": [1, 28, 28],
        "classes": CLASSES,
        "dataset_identity": "0" * 16,
        "weights_hash": weights_hash(name),
        "versions": {"python": "3.11", "torch": "2", "unitlens": "0.3.0"},
    }
    write_json(place / "checkpoint.json", record)
    for schema, table in _tables(made, epoch, float(now["train_accuracy"]), rng):
        if schema not in without:
            _save(table, place, name, schema)


def weights_hash(name: str) -> str:
    """Return the hash that the record of a network states for its weights."""
    return hash_bytes(name.encode())


def provenance_of(name: str, schema: str) -> FileProvenance:
    """Return the provenance of a file of a network."""
    return FileProvenance(schema, {"split": "train"}, "c0de", {"weights": weights_hash(name)})


def _save(table: xr.Dataset, place: Path, name: str, schema: str) -> None:
    provenance = provenance_of(name, schema)
    write_netcdf(annotate(table, schema), place / f"{schema}.nc", provenance=provenance)


def _tables(
    made: Network, epoch: float, accuracy: float, rng: np.random.Generator
) -> Iterator[tuple[str, xr.Dataset]]:
    robustness = made.robustness * (1 - 0.02 * max(0, epoch - 4))
    measures = unit_measures(made, rng)
    yield "unit_measures", measures
    yield "unit_ablation", unit_ablation(made, measures, rng)
    yield "cumulative_ablation", cumulative_ablation(made, accuracy, robustness, rng)
    yield "noise_robustness", noise_robustness(accuracy, robustness, rng)


def _history(made: Network, rng: np.random.Generator) -> xr.Dataset:
    epochs = np.arange(0, EPOCHS + 1)
    corruption = made.spec.dataset.corruption
    train_loss = 2.3 * np.exp(-epochs * (0.8 - 0.6 * corruption)) + 0.002
    test_loss = 0.12 + 2.2 * np.exp(-epochs * 0.6) + (0.02 + 0.3 * corruption) * epochs
    train = 1 - 0.9 * np.exp(-epochs * (0.9 - 0.6 * corruption))
    test = 0.1 + 0.86 * (1 - corruption) * (1 - np.exp(-epochs * 0.9))
    test = test * (1 - 0.1 * made.misfit)
    test = test + rng.normal(0, 0.003, epochs.size)
    values = {
        "train_accuracy": train,
        "test_accuracy": test,
        "train_loss": train_loss,
        "test_loss": test_loss,
    }
    return xr.Dataset(
        {name: ("epoch", array) for name, array in values.items()}, coords={"epoch": epochs}
    )


def unit_measures(made: Network, rng: np.random.Generator) -> xr.Dataset:
    where = unit_coordinates(made.layers)
    units = where["channel"].size
    depth = where["depth"].values
    mean = rng.gamma(1.5, 0.3, (units, CLASSES)) + 0.02
    mean[np.arange(units), rng.integers(0, CLASSES, units)] *= 1 + 2 * rng.random(units)
    if getattr(made.spec.model, "batch_norm", False):
        mean += 0.4
    dead = rng.random(units) < 0.03
    mean[dead] = 0
    best = mean.max(1)
    rest = (mean.sum(1) - best) / (CLASSES - 1)
    total = np.where(dead, 1, best + rest)
    selectivity = np.where(dead, 0, (best - rest) / total)
    information = np.clip(0.9 * selectivity + rng.normal(0, 0.08, units), 0, np.log(CLASSES))
    columns: dict[str, np.ndarray] = {
        "selectivity": selectivity,
        "preferred_class": np.where(dead, -1, mean.argmax(1)),
        "dead": dead,
        "undefined": np.full(units, "", object),
        "mutual_information": np.where(dead, 0, information),
        "mutual_information_se": 0.01 + 0 * information,
        "mutual_information_bound": 0.1 + 0 * information,
        "ccmas": selectivity,
        "class_correlation": np.where(dead, np.nan, selectivity),
        "correlated_class": np.where(dead, -1, mean.argmax(1)),
        "sparsity": np.where(dead, np.nan, 0.3 + 0.5 * selectivity),
        "zero_share": np.where(dead, 1, 0.7 * selectivity),
        "precision_60": np.where(dead, np.nan, 0.2 + 0.8 * selectivity),
        "precision_100": np.where(dead, np.nan, 0.2 + 0.7 * selectivity),
        "mean": mean.mean(1),
        "variance": mean.var(1) + 0.05 * ~dead,
        "l1_norm": rng.gamma(30, 0.5, units) * (1 + depth) - 3 * selectivity,
    }
    for name, least in (("roc_auc", 0.5), ("informedness", 0.0), ("average_precision", 0.1)):
        score = least + (1 - least) * selectivity
        columns |= {name: score, f"{name}_bound": 0.01 * score, f"{name}_class": mean.argmax(1)}
    data = {name: ("unit", array) for name, array in columns.items()}
    data["class_mean"] = (("unit", "class"), mean)
    return xr.Dataset(data, coords=where | {"class": np.arange(CLASSES)}).assign_attrs(bins=16)


def unit_ablation(made: Network, measures: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    where = unit_coordinates(made.layers)
    alive = ~measures["dead"].values
    units = alive.size
    size = np.exp(rng.normal(-7, 1.2, units)) / (1 + where["depth"].values)
    increase = alive * (size * (1.3 - measures["selectivity"].values) + rng.normal(0, 1e-4, units))
    per_class = alive[:, None] * np.abs(rng.normal(0, 0.01, (units, CLASSES)))
    data = {
        "loss_increase": increase,
        "loss_increase_se": 0.1 * np.abs(increase),
        "accuracy_drop": per_class.mean(1),
        "accuracy_drop_se": 0.1 * per_class.mean(1),
        "class_accuracy_drop_max": per_class.max(1),
        "class_accuracy_drop_max_se": 0.1 * per_class.max(1),
        "class_accuracy_drop_max_low": 0.8 * per_class.max(1),
        "class_accuracy_drop_max_high": 1.2 * per_class.max(1),
        "most_damaged_class": per_class.argmax(1),
        "loss_increase_first_order": 0.8 * increase,
        "loss_increase_first_order_se": 0.1 * np.abs(increase),
    }
    table = xr.Dataset({name: ("unit", array) for name, array in data.items()}, coords=where)
    table = table.assign_coords({"class": np.arange(CLASSES)})
    table["class_loss_increase"] = (("unit", "class"), increase[:, None] + per_class)
    table["class_loss_increase_se"] = (("unit", "class"), 0.1 * per_class)
    table["class_accuracy_drop"] = (("unit", "class"), per_class)
    table["class_accuracy_drop_se"] = (("unit", "class"), 0.1 * per_class)
    return table.assign_attrs(value="zero", split="train")


def cumulative_ablation(
    made: Network,
    accuracy: float,
    robustness: float,
    rng: np.random.Generator,
    *,
    orders: int = 4,
    points: int = 11,
) -> xr.Dataset:
    units = sum(count for _, _, count in made.layers)
    names = [f"random-{i}" for i in range(orders)]
    names += ["selectivity-ascending", "selectivity-descending"]
    ablated = np.unique(np.round(np.linspace(0, units, points)).astype(int))
    fraction = ablated / units
    half = robustness + rng.normal(0, 0.03, (len(names), 1))
    falling = 1 / (1 + np.exp((fraction - half) / 0.07))
    share = (falling - falling[:, -1:]) / (falling[:, :1] - falling[:, -1:])
    values = 1 / CLASSES + (accuracy - 1 / CLASSES) * share
    return xr.Dataset(
        {"accuracy": (("order", "ablated"), values), "loss": (("order", "ablated"), 3 - 3 * share)},
        coords={
            "order": np.array(names, object),
            "ablated_fraction": ("ablated", fraction),
            "ablated_units": ("ablated", ablated),
        },
        attrs={"value": "zero", "basis": "units", "split": "train"},
    )


def noise_robustness(
    accuracy: float, robustness: float, rng: np.random.Generator, *, draws: int = 3
) -> xr.Dataset:
    half = 2.5 * robustness + rng.normal(0, 0.05, (draws, 1))
    share = 1 / (1 + (SCALES / half) ** 3)
    values = 1 / CLASSES + (accuracy - 1 / CLASSES) * share
    dims = ("draw", "noise_scale")
    return xr.Dataset(
        {"accuracy": (dims, values), "loss": (dims, 3 - 3 * share)},
        coords={"draw": np.arange(draws), "noise_scale": SCALES},
        attrs={"split": "train"},
    )
