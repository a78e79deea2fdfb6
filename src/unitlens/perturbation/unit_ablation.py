"""Ablation of single units: clamp each alone and score the network."""

import numpy as np
import torch
import xarray as xr
from torch import nn

from unitlens.data.batches import MapStyle
from unitlens.errors import ArgumentError
from unitlens.model.precision import Precision
from unitlens.perturbation.engine.perturbed_directions import Replacement, Units
from unitlens.perturbation.first_order import first_order_importance
from unitlens.perturbation.importance import Ints, PairedSums, add_changes, importance_table
from unitlens.perturbation.scores import Floats, ScoreChoice
from unitlens.perturbation.session import (
    Baseline,
    LayerChoice,
    Session,
    Settings,
    open_session,
)
from unitlens.perturbation.values.clamping import (
    Clamping,
    Value,
    clamp_to,
    value_name,
)
from unitlens.seeds import seeded
from unitlens.variables.unit_index import unit_coordinates


def unit_ablation(
    model: nn.Module,
    dataset: MapStyle,
    *,
    layers: LayerChoice = None,
    value: Value = "zero",
    units: int | None = None,
    units_per_layer: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    reference: MapStyle | None = None,
    batch_size: int = 4096,
    device: torch.device | str = "cpu",
    memory_gb: float = 2.0,
    score: ScoreChoice = "top1",
    precision: Precision = None,
    first_order: bool = False,
) -> xr.Dataset:
    """Ablate every unit alone: what is lost without it.

    Exact, at a fraction of one forward pass a unit: each batch is run once, and for each unit
    only what lies behind its layer is run again, only on samples where the unit's activation
    differs from the value, many units in one batch.

    Parameters
    ----------
    model, dataset, layers, samples, seed, batch_size, device, memory_gb, score, precision
        As :mod:`unitlens.perturbation` says.
    value, reference
        What units are clamped to, as :mod:`unitlens.perturbation` says.
    units, units_per_layer
        Size of a seeded sample of the units, of all together or of each layer; all of them if None.
    first_order
        Whether to estimate the loss increase by :mod:`unitlens.perturbation.first_order` as well.

    Returns
    -------
    Dataset of the schema ``unit_ablation`` on `unit` and, where targets are classes, `class`: loss
    increase in nats and accuracy drop, overall and by class (NaN for a class without samples),
    the largest drop of a class and which class it is of, and the standard error of each, paired
    over samples. A unit that always has the value it is clamped to has an importance of exactly 0.
    The largest of noisy drops is biased upwards, and its error is that of the chosen class alone.

    Raises
    ------
    ArgumentError, LayerError, ModelError
        As :mod:`unitlens.perturbation` says, and where no gradient comes for `first_order`.
    """
    settings = Settings(layers, samples, seed, batch_size, device, memory_gb, score, precision)
    _check_sample(units, units_per_layer)
    with open_session(model, dataset, settings, "units") as session:
        clamping = clamp_to(session, value, reference)
        chosen = _chosen_units(session, units, units_per_layer, seed)
        estimates = _first_order(session, clamping, chosen) if first_order else {}
        sums, baseline = _exact(session, clamping, chosen)
        found = sums.importance(by_class=session.by_class) | estimates
        attributes = {"value": value_name(value), **session.attributes()}
        table = _unit_table(session, found, chosen)
        return table.assign_attrs(attributes, **baseline.attributes())


def _exact(session: Session, clamping: Clamping, chosen: Ints) -> tuple[PairedSums, Baseline]:
    clamps: list[Units] = []
    baseline = Baseline()
    sums = PairedSums(len(chosen), session.classes, session.device)
    for batch in session.batches("unit ablation", kept_bytes=clamping.kept_bytes):
        replacement = clamping.replacement(batch)
        clamps = [units.replaced_by(replacement) for units in clamps] or _clamps(
            session, replacement, chosen
        )
        add_changes(session, batch, clamps, baseline, sums)
    return sums, baseline


def _first_order(session: Session, clamping: Clamping, chosen: Ints) -> dict[str, Floats]:
    found = first_order_importance(session, clamping)
    return {name: array[chosen] for name, array in found.items()}


def _check_sample(units: int | None, units_per_layer: int | None) -> None:
    for name, size in (("units", units), ("units_per_layer", units_per_layer)):
        if size is not None and size < 1:
            raise ArgumentError(f"{name} is {size}, but must be at least 1")
    if units is not None and units_per_layer is not None:
        raise ArgumentError(
            f"units is {units} and units_per_layer {units_per_layer}: give one of them"
        )


def _chosen_units(
    session: Session, units: int | None, units_per_layer: int | None, seed: int
) -> Ints:
    """Return which of all units are ablated, ascending."""
    total = session.units
    if units_per_layer is None:
        if units is None or units >= total:
            return np.arange(total)
        return np.sort(seeded(seed, "units").permutation(total)[:units])
    random, first, chosen = seeded(seed, "units"), 0, []
    for layer in session.layers:
        chosen.append(first + np.sort(random.permutation(layer.units)[:units_per_layer]))
        first += layer.units
    return np.concatenate(chosen)


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


def _unit_table(session: Session, found: dict[str, Floats], chosen: Ints) -> xr.Dataset:
    every = unit_coordinates((layer.name, layer.depth, layer.units) for layer in session.layers)
    units = xr.Dataset(coords={name: array[chosen] for name, array in every.items()})
    return importance_table(session, found, "unit", units, "unit_ablation")
