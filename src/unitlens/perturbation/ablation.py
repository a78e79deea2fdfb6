"""Ablation of single units: clamp each alone and score the network."""

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import nn

from unitlens.errors import ArgumentError
from unitlens.networks.batches import MapStyle
from unitlens.networks.seeds import seeded
from unitlens.perturbation.cumulative import cumulative_ablation
from unitlens.perturbation.engine import Replacement, Units
from unitlens.perturbation.scores import PairedSums, score
from unitlens.perturbation.session import (
    Baseline,
    Batch,
    LayerChoice,
    Session,
    Settings,
    open_session,
)
from unitlens.perturbation.values import Value, clamp_values, constant, value_name
from unitlens.variables import annotate, unit_coordinates

__all__ = ["cumulative_ablation", "unit_ablation"]

Ints = npt.NDArray[np.int64]


def unit_ablation(
    model: nn.Module,
    dataset: MapStyle,
    *,
    layers: LayerChoice = None,
    value: Value = "zero",
    units: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    reference: MapStyle | None = None,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
    memory_gb: float = 2.0,
) -> xr.Dataset:
    """Ablate every unit alone: what is lost without it.

    Exact, at a fraction of one forward pass a unit: each batch is run once, and for each unit
    only what lies behind its layer is run again, only on samples where the unit's activation
    differs from the value, many units in one batch.

    Parameters
    ----------
    model, dataset, layers, samples, seed, batch_size, device, memory_gb
        As :mod:`unitlens.perturbation` says.
    value, reference
        What units are clamped to, as :mod:`unitlens.perturbation` says.
    units
        Size of a seeded sample of the units; all of them if None.

    Returns
    -------
    Dataset of the schema ``unit_ablation`` on `unit` and `class` (as many as there are logits):
    loss increase in nats, accuracy drop, accuracy drop by class (NaN for a class without
    samples), and the standard error of each, paired over samples. A unit that always has the
    value it is clamped to has an importance of exactly 0.

    Raises
    ------
    ArgumentError, LayerError, ModelError
        As :mod:`unitlens.perturbation` says.
    """
    settings = Settings(layers, samples, seed, batch_size, device, memory_gb)
    if units is not None and units < 1:
        raise ArgumentError(f"units is {units}, but must be at least 1")
    with open_session(model, dataset, settings) as session:
        values = clamp_values(session, value, dataset if reference is None else reference)
        chosen = _chosen_units(session.units, units, seed)
        clamps = _clamps(session, constant(session, values), chosen)
        baseline = Baseline()
        sums = PairedSums(len(chosen), session.engine.output_shape[1], session.device)
        for batch in session.batches("unit ablation"):
            _add_changes(session, batch, clamps, baseline, sums)
        attributes = {"value": value_name(value), **session.attributes()}
        table = _unit_table(session, sums, chosen)
        return table.assign_attrs(attributes, **baseline.attributes())


def _add_changes(
    session: Session, batch: Batch, clamps: list[Units], baseline: Baseline, sums: PairedSums
) -> None:
    losses, hits = baseline.add(session.engine, batch)
    sums.count(batch.labels)
    for effect in session.engine.each_alone(batch.inputs, clamps):
        labels = batch.labels[effect.samples]
        loss, hit = score(effect.logits, labels)
        changes = loss - losses[effect.samples], hit - hits[effect.samples]
        sums.add(effect.table_rows, labels, *changes)


def _chosen_units(total: int, units: int | None, seed: int) -> Ints:
    if units is None or units >= total:
        return np.arange(total)
    return np.sort(seeded(seed, "units").permutation(total)[:units])


def _clamps(session: Session, replacement: Replacement, chosen: Ints) -> list[Units]:
    clamps, first = [], 0
    for layer in session.layers:
        rows = np.flatnonzero((chosen >= first) & (chosen < first + layer.units))
        channels = torch.as_tensor(chosen[rows] - first, device=session.device)
        table_rows = torch.as_tensor(rows, device=session.device)
        if len(rows):
            clamps.append(Units(layer, channels, replacement, table_rows))
        first += layer.units
    return clamps


def _unit_table(session: Session, sums: PairedSums, chosen: Ints) -> xr.Dataset:
    variables = {
        name: (("unit", "class")[: array.ndim], array) for name, array in sums.importance().items()
    }
    every = unit_coordinates((layer.name, layer.depth, layer.units) for layer in session.layers)
    coordinates = {name: array[chosen] for name, array in every.items()}
    table = xr.Dataset(
        variables, {**coordinates, "class": np.arange(session.engine.output_shape[1])}
    )
    return annotate(table, "unit_ablation")
