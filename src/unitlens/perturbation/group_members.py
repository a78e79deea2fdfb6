"""The units of groups, and random groups as controls."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from unitlens.errors import ArgumentError, nearest
from unitlens.model.layers import UnitLayer
from unitlens.perturbation.values.unit_values import unit_keys, units_of
from unitlens.seeds import seeded

Ints = npt.NDArray[np.int64]
Pair = tuple[str, int]
Unit = Pair | int
Groups = Mapping[str, Sequence[Unit]] | Sequence[Sequence[Unit]]


def random_groups(
    units: xr.Dataset | xr.DataArray | Sequence[UnitLayer],
    like: Groups,
    *,
    repeats: int = 1,
    seed: int = 0,
    within_layers: bool = True,
) -> dict[str, list[Pair]]:
    """Draw random groups as controls, with as many units of each layer as given groups have.

    The importance of a group tells something of its units only beside the importance of groups
    of as many other units.

    Parameters
    ----------
    units
        Units of one network to draw from: the layers that :func:`unitlens.unit_layers` returns, or
        a table or array with the coordinates ``layer`` and ``channel`` on ``unit``, such as the
        result of :func:`unitlens.unit_ablation`.
    like
        Groups as :func:`unitlens.group_ablation` takes them: lists of units, or such lists by
        name. Numbers of units are positions in `units`.
    repeats
        Number of controls of each group, at least 1. The first controls do not depend on it.
    seed
        Seed of the draws, at least 0.
    within_layers
        Whether a control has as many units of each layer as the group; if not, as many units of
        all layers together.

    Returns
    -------
    Groups of (layer, channel) by the name ``{name}-random-{repeat}``, with the name or number of
    each group of `like`. Units of a control are drawn without replacement from all units of their
    layer, those of the group included.

    Raises
    ------
    ArgumentError
        Where a number is out of its range, there is no group, a group holds a unit twice or a unit
        that is not in `units`, or `units` lack a coordinate or hold a unit twice.

    References
    ----------
    Meyes et al. 2019, arXiv 1901.08644; Donnelly & Roegiest 2019 (controls of as many units).

    Examples
    --------
    >>> import torch
    >>> import unitlens as ul
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> layers = ul.unit_layers(model, torch.zeros(1, 2))
    >>> controls = ul.random_groups(layers, {"pair": [("1", 0), ("1", 3)]}, repeats=2)
    >>> {name: len(group) for name, group in controls.items()}
    {'pair-random-0': 2, 'pair-random-1': 2}
    """
    for name, number, least in (("repeats", repeats, 1), ("seed", seed, 0)):
        if number < least:
            raise ArgumentError(f"{name} is {number}, but must be at least {least}")
    keys = _keys_of(units)
    pairs: list[Pair] = keys.tolist()
    members = member_numbers(like, keys)
    layer_of = np.array([layer if within_layers else "" for layer, _ in pairs], dtype=object)
    return {
        f"{name}-random-{repeat}": [
            pairs[place] for place in _draw(layer_of, group, seed, repeat, number)
        ]
        for number, (name, group) in enumerate(zip(group_names(like), members, strict=True))
        for repeat in range(repeats)
    }


def _draw(layer_of: npt.NDArray[np.object_], group: Ints, seed: int, *number: int) -> list[int]:
    random = seeded(seed, "groups", *number)
    drawn: list[int] = []
    for layer in dict.fromkeys(layer_of[np.sort(group)]):
        candidates = np.flatnonzero(layer_of == layer)
        count = int((layer_of[group] == layer).sum())
        drawn += np.sort(random.permutation(candidates)[:count]).tolist()
    return drawn


def _keys_of(units: xr.Dataset | xr.DataArray | Sequence[UnitLayer]) -> pd.MultiIndex:
    if not isinstance(units, xr.Dataset | xr.DataArray):
        return unit_keys(units_of(units), "units")
    for name in ("layer", "channel"):
        if name not in units.coords or units.coords[name].dims != ("unit",):
            raise ArgumentError(
                f"units has no coordinate '{name}' on the dimension 'unit'; take a table of units "
                "or the result of unit_layers"
            )
    return unit_keys(units, "units")


def group_names(groups: Groups) -> npt.NDArray[np.object_] | Ints:
    """Return the names of groups; numbers from 0 where groups have no names.

    Raises
    ------
    ArgumentError
        Where there is no group, or a name is not text.
    """
    if not len(groups):
        raise ArgumentError("groups is empty, but must hold at least one group of units")
    if not isinstance(groups, Mapping):
        return np.arange(len(groups))
    for name in groups:
        if not isinstance(name, str):
            raise ArgumentError(f"groups has the name {name!r}, but a name must be text")
    return np.array(list(groups), dtype=object)


def member_numbers(groups: Groups, keys: pd.MultiIndex) -> list[Ints]:
    """Return the numbers of each group's units.

    Parameters
    ----------
    groups
        Groups of units: pairs of layer and channel, or numbers.
    keys
        Layer and channel of the units, by their number.

    Raises
    ------
    ArgumentError
        Where a group holds a unit twice, or a unit that does not exist.
    """
    by_name: dict[Any, Sequence[Unit]]
    by_name = dict(groups.items() if isinstance(groups, Mapping) else enumerate(groups))
    pairs = [pair for group in by_name.values() for pair in map(_pair, group) if pair is not None]
    number_of = (
        dict(zip(pairs, keys.get_indexer(pd.MultiIndex.from_tuples(pairs)).tolist(), strict=True))
        if pairs
        else {}
    )
    members = []
    for name, group in by_name.items():
        numbers = np.array([_number(unit, number_of, keys, name) for unit in group], np.int64)
        repeated = numbers[pd.Index(numbers).duplicated()]
        if repeated.size:
            layer, channel = keys[repeated[0]]
            raise ArgumentError(
                f"group {name!r} holds channel {channel} of layer '{layer}' twice, but must hold "
                "each unit once"
            )
        members.append(numbers)
    return members


def _pair(unit: object) -> Pair | None:
    match unit:
        case (str() as layer, int() | np.integer() as channel):
            return layer, int(channel)
    return None


def _number(
    unit: Unit, number_of: Mapping[Pair, int], keys: pd.MultiIndex, group: str | int
) -> int:
    """Return the number of a unit that is given by its name or by its number."""
    if isinstance(unit, int | np.integer) and not isinstance(unit, bool) and 0 <= unit < len(keys):
        return int(unit)
    pair, hint = _pair(unit), ""
    if pair is not None:
        if number_of[pair] >= 0:
            return number_of[pair]
        layers = keys.unique("layer").tolist()
        if pair[0] not in layers:
            hint = f"; {nearest(pair[0], layers)}; another module is chosen by layers=[{pair[0]!r}]"
    raise ArgumentError(
        f"group {group!r} holds the unit {unit!r}, but must hold units of the chosen layers: pairs "
        f"of layer and channel, or numbers from 0 to {len(keys) - 1}{hint}"
    )
