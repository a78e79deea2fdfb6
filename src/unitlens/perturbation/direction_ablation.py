"""Ablation of directions: project each out of its layer alone and score the network."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.data.batches import MapStyle
from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer
from unitlens.model.precision import Precision
from unitlens.perturbation.engine.perturbed_directions import Mixtures
from unitlens.perturbation.given_directions import Directions, by_layer, matched
from unitlens.perturbation.importance import PairedSums, add_changes, importance_table
from unitlens.perturbation.scores import Floats, ScoreChoice
from unitlens.perturbation.session import (
    Baseline,
    Session,
    Settings,
    open_session,
)
from unitlens.perturbation.values.clamping import clamp_to


def direction_ablation(
    model: nn.Module,
    dataset: MapStyle,
    directions: Directions,
    *,
    value: Literal["zero", "mean"] = "zero",
    reference: MapStyle | None = None,
    samples: int | None = None,
    seed: int = 0,
    batch_size: int = 4096,
    device: torch.device | str = "cpu",
    memory_gb: float = 2.0,
    score: ScoreChoice = "top1",
    precision: Precision = None,
) -> xr.Dataset:
    """Ablate every direction alone: what is lost without what its layer says along it.

    With ``d`` a direction of length 1 and ``a`` the activations of its layer for one sample at
    one position, ``a - (a . d - m) d`` stands in for ``a``: nothing but the projection on ``d``
    changes, which becomes ``m``. Along a single unit, it is the ablation of that unit.

    Parameters
    ----------
    model, dataset, samples, seed, batch_size, device, memory_gb, score, precision
        As :mod:`unitlens.perturbation` says.
    directions
        A DataArray (direction, unit) with coordinates ``layer`` and ``channel``, of all units of
        one layer, as :func:`unitlens.random_directions` and the ``component`` of
        :func:`unitlens.principal_components` are; several of these, of one layer each; or arrays
        (directions, units) by layer. Rows are brought to length 1, and need not be orthogonal.
    value, reference
        What ``m`` is: 0, or the mean projection over the samples and positions of `reference`
        (`dataset` if None).

    Returns
    -------
    Dataset of the schema ``direction_ablation`` on `direction` and, where targets are classes,
    `class`: the variables of :func:`unitlens.unit_ablation`, with coordinates ``layer``, ``depth``
    and those that the directions carry. Layers come in the order of the forward pass.

    Raises
    ------
    ArgumentError, LayerError, ModelError
        As :mod:`unitlens.perturbation` says; ArgumentError too where a direction is zero or not
        finite, lacks a unit, or is of several layers.
    """
    if str(value) not in ("zero", "mean"):  # not an array, above all
        raise ArgumentError(f"value is {value!r}, but must be 'zero' or 'mean' for directions")
    given = by_layer(directions, "directions")
    settings = Settings(
        tuple(given), samples, seed, batch_size, device, memory_gb, score, precision
    )
    with open_session(model, dataset, settings, "mixtures") as session:
        rows = {layer.name: _unit_rows(given[layer.name], layer) for layer in session.layers}
        values = clamp_to(session, value, reference).constants
        sums, baseline = _exact(session, _mixtures(session, rows, values))
        found, along = sums.importance(by_class=session.by_class), _coordinates(session, given)
        table = importance_table(session, found, "direction", along, "direction_ablation")
        attributes = {"value": value, **session.attributes()}
        return table.assign_attrs(attributes, **baseline.attributes())


def _unit_rows(given: xr.DataArray, layer: UnitLayer) -> Floats:
    """Return a layer's directions, each brought to length 1."""
    exact = matched(given, layer, "directions").astype(np.float64)
    exact = exact / np.maximum(np.abs(exact).max(axis=1, keepdims=True), np.finfo(float).tiny)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    zero = np.flatnonzero(lengths == 0)
    if zero.size:
        raise ArgumentError(
            f"directions holds row {zero[0]} of layer '{layer.name}' that is zero in every unit, "
            "but a direction must have a length; leave it out"
        )
    scaled: Floats = exact / lengths
    return scaled


def _mixtures(
    session: Session, rows: Mapping[str, Floats], values: Tensor | None
) -> list[Mixtures]:
    constants = torch.zeros(session.units) if values is None else values
    by_name = session.split(constants.double().cpu())
    mixtures, first = [], 0
    for layer in session.layers:
        mine = rows[layer.name]
        levels = mine @ by_name[layer.name].numpy()
        table_rows = torch.arange(first, first + len(mine), device=session.device)
        mixtures.append(Mixtures(layer, session.tensor(mine), session.tensor(levels), table_rows))
        first += len(mine)
    return mixtures


def _exact(session: Session, mixtures: list[Mixtures]) -> tuple[PairedSums, Baseline]:
    baseline = Baseline()
    count = sum(len(each.table_rows) for each in mixtures)
    sums = PairedSums(count, session.classes, session.device)
    for batch in session.batches("direction ablation"):
        add_changes(session, batch, mixtures, baseline, sums)
    return sums, baseline


def _coordinates(session: Session, given: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Return what the directions carry, where those of every layer do, beside their layer."""
    parts = []
    for layer in session.layers:
        rows = given[layer.name]
        carried = {
            str(name): array.variable
            for name, array in rows.coords.items()
            if array.dims == ("direction",)
        }
        number = rows.sizes["direction"]
        where = {
            "layer": ("direction", np.array([layer.name] * number, dtype=object)),
            "depth": ("direction", np.full(number, layer.depth)),
        }
        parts.append({"direction": ("direction", np.arange(number))} | carried | where)
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    tables = [xr.Dataset(coords={name: part[name] for name in shared}) for part in parts]
    return xr.concat(tables, "direction") if len(tables) > 1 else tables[0]
