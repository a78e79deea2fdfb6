"""Which units groups hold, and random groups to hold them against."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.errors import ArgumentError, nearest
from unitlens.model.layers import UnitLayer
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
    """Draw random units as controls for groups: as many of each layer as a group has.

    What a group does when it is ablated says something of its units only beside what as many
    others do (Meyes et al. 2019, arXiv 1901.08644; Donnelly & Roegiest 2019).

    Parameters
    ----------
    units
        The units to draw from: the layers of :func:`unitlens.unit_layers`, or anything with the
        coordinates ``layer`` and ``channel`` on ``unit``, such as a table of
        :func:`unitlens.unit_ablation`, of one network.
    like
        The groups, as :func:`unitlens.group_ablation` takes them; numbers are places in `units`.
    repeats
        Controls of each group. The first ones do not depend on how many there are.
    seed
        Seed, at least 0.
    within_layers
        Whether a control has as many units of each layer as the group; if not, as many in all.

    Returns
    -------
    Groups by name: ``{name}-random-{repeat}`` for each group's name, or number, and repeat. Each
    is drawn without replacement from all of the layer's units, those of the group included.

    Raises
    ------
    ArgumentError
        Where a number is out of its range, a group is not of `units`, or `units` are not those of
        one network.

    Examples
    --------
    >>> import unitlens as ul
    >>> from unitlens.variables.unit_index import unit_coordinates
    >>> units = xr.Dataset(coords=unit_coordinates([("relu", 0, 4)]))
    >>> {name: len(group) for name, group in ul.random_groups(units, [[0, 3]], repeats=2).items()}
    {'0-random-0': 2, '0-random-1': 2}
    """
    for name, number, least in (("repeats", repeats, 1), ("seed", seed, 0)):
        if number < least:
            raise ArgumentError(f"{name} is {number}, but must be at least {least}")
    pairs = _pairs_in(units)
    names, groups = names_of(like), numbers_of(like, pairs)
    where = np.array([layer if within_layers else "" for layer, _ in pairs], dtype=object)
    return {
        f"{name}-random-{repeat}": [
            pairs[place] for place in _drawn(where, group, seed, repeat, number)
        ]
        for number, (name, group) in enumerate(zip(names, groups, strict=True))
        for repeat in range(repeats)
    }


def _drawn(where: npt.NDArray[np.object_], group: Ints, seed: int, *number: int) -> list[int]:
    random = seeded(seed, "groups", *number)
    drawn: list[int] = []
    for layer in dict.fromkeys(where[np.sort(group)]):
        among = np.flatnonzero(where == layer)
        count = int((where[group] == layer).sum())
        drawn += np.sort(random.permutation(among)[:count]).tolist()
    return drawn


def _pairs_in(units: xr.Dataset | xr.DataArray | Sequence[UnitLayer]) -> list[Pair]:
    if not isinstance(units, xr.Dataset | xr.DataArray):
        return pairs_of(units)
    for name in ("layer", "channel"):
        if name not in units.coords or units.coords[name].dims != ("unit",):
            raise ArgumentError(
                f"units has no coordinate '{name}' on the dimension 'unit'; take a table of units "
                "or what unit_layers returns"
            )
    columns = (units.coords[name].values.tolist() for name in ("layer", "channel"))
    pairs = list(zip(*columns, strict=True))
    if len(set(pairs)) < len(pairs):
        raise ArgumentError(
            "units holds a channel of a layer more than once, but groups are of one network; "
            "select one run first"
        )
    return pairs


def pairs_of(layers: Iterable[UnitLayer]) -> list[Pair]:
    """Return layer and channel of every unit of some layers, in their order."""
    return [(layer.name, channel) for layer in layers for channel in range(layer.units)]


def names_of(groups: Groups) -> npt.NDArray[np.object_] | Ints:
    """Return the names of groups; numbers from 0 where they have none.

    Raises
    ------
    ArgumentError
        Where there is no group, or a name is no text.
    """
    if not len(groups):
        raise ArgumentError("groups is empty, but must hold at least one group of units")
    if not isinstance(groups, Mapping):
        return np.arange(len(groups))
    for name in groups:
        if not isinstance(name, str):
            raise ArgumentError(f"groups has the name {name!r}, but a name must be text")
    return np.array(list(groups), dtype=object)


def numbers_of(groups: Groups, units: Sequence[Pair]) -> list[Ints]:
    """Return the places of each group's units among `units`.

    Raises
    ------
    ArgumentError
        Where a group holds a unit twice, or one that is not there.
    """
    place = {unit: number for number, unit in enumerate(units)}
    lists = groups.items() if isinstance(groups, Mapping) else enumerate(groups)
    found = []
    for name, group in lists:
        numbers = [_number(unit, place, name) for unit in group]
        for earlier, number in enumerate(numbers):
            if number in numbers[:earlier]:
                raise ArgumentError(
                    f"group {name!r} holds channel {units[number][1]} of layer "
                    f"'{units[number][0]}' twice, but must hold each unit once"
                )
        found.append(np.array(numbers, dtype=np.int64))
    return found


def _number(unit: Unit, place: Mapping[Pair, int], group: str | int) -> int:
    hint = ""
    match unit:
        case bool():
            pass
        case int() | np.integer() if 0 <= unit < len(place):
            return int(unit)
        case (str() as layer, int() | np.integer() as channel):
            if (layer, int(channel)) in place:
                return place[layer, int(channel)]
            layers = {name for name, _ in place}
            hint = "" if layer in layers else f"; {nearest(layer, sorted(layers))}"
    raise ArgumentError(
        f"group {group!r} holds the unit {unit!r}, but must hold units of the chosen layers: pairs "
        f"of layer and channel, or numbers from 0 to {len(place) - 1}{hint}"
    )
