"""The tables of the parts of one call, joined to the table of the whole call."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.analysis.reliability import SAMPLING_ATTRIBUTES, sampling_attributes
from unitlens.errors import TableError, shown
from unitlens.perturbation.partial_calls import Ints, rows_of_part
from unitlens.user_warnings import warn_caller

# Dimension along which the tables of each schema are split.
_DIMENSIONS = {
    "unit_ablation": "unit",
    "direction_ablation": "direction",
    "group_ablation": "group",
    "cumulative_ablation": "order",
    "noise_robustness": "draw",
}
# Coordinates whose values tell the blocks of rows apart that are split each by itself.
_BLOCKS = ("layer", "value", "basis")
_IDENTITY = {
    "network_hash": "networks",
    "settings_hash": "settings",
    "data_hash": "data",
    "code_hash": "versions of the code",
}
_ARITHMETIC = "arithmetic"
_OF_SOME = ("device", "drawn_without_gradient")  # may differ among parts of one call
_OF_PART = ("part", "parts", "part_rows", *_IDENTITY, _ARITHMETIC)
# Largest difference of the unperturbed network's scores that other arithmetic explains.
_ROUNDING = 1e-4


def merge_tables(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    """Join the tables of all parts of a perturbation to the table of the whole call.

    The result equals the table that the call without `part` returns: the same numbers to the last
    bit, in the same order, with the same attributes.

    Parameters
    ----------
    parts
        The results of :func:`unitlens.unit_ablation`, :func:`unitlens.group_ablation`,
        :func:`unitlens.direction_ablation`, :func:`unitlens.cumulative_ablation` or
        :func:`unitlens.noise_robustness` with ``part=(0, K)``, ..., ``part=(K - 1, K)`` and
        otherwise equal arguments, in any order.

    Returns
    -------
    The table, without the attributes of parts.

    Raises
    ------
    TableError
        Where a table is no part, a part is missing or there twice, or parts are of different
        networks, data, settings or versions of the code.

    Warns
    -----
    UserWarning
        Where parts were computed with other versions of torch, processors, numbers of threads or
        batch sizes, so that their last digits may differ from those of the whole call.

    Notes
    -----
    Parts are compared by hashes among their attributes: ``network_hash`` of the parameters, the
    buffers and the modules, ``data_hash`` of the scored samples in their order, ``settings_hash``
    of the arguments and of the reference, and ``code_hash`` of what of this package computes.

    Examples
    --------
    >>> import torch
    >>> import unitlens as ul
    >>> model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> dataset = [(torch.tensor([3.0, 1.0]), 0), (torch.tensor([0.0, 2.0]), 1)]
    >>> parts = [ul.unit_ablation(model, dataset, part=(k, 2)) for k in range(2)]
    >>> ul.merge_tables(parts).identical(ul.unit_ablation(model, dataset))
    True
    """
    tables = _by_number([*parts])
    _check_identity(tables)
    first = tables[0]
    schema = first.attrs["schema"]
    dim = _DIMENSIONS[schema]
    order = _whole_order([_blocks(table, dim) for table in tables])
    joined = xr.concat(
        [table.drop_attrs(deep=False) for table in tables],
        dim,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
    )
    whole = joined.isel({dim: order})
    for name, array in whole.variables.items():
        array.attrs, array.encoding = dict(first.variables[name].attrs), {}
    if schema == "cumulative_ablation":
        whole = _with_common_ends(whole)
    kept = {name: value for name, value in first.attrs.items() if name not in _OF_PART}
    whole = whole.assign_attrs(kept | _of_some(tables), **_other_arithmetic(tables))
    if "loss_increase_sampling_se" in whole:
        return whole.assign_attrs(sampling_attributes(whole))
    return whole


def _of_some(tables: list[xr.Dataset]) -> dict[str, str]:
    """Return the attributes that may differ among parts, with all that the parts state."""
    stated = {
        name: dict.fromkeys(str(table.attrs[name]) for table in tables if name in table.attrs)
        for name in _OF_SOME
    }
    return {name: "; ".join(texts) for name, texts in stated.items() if texts}


def _by_number(tables: list[Any]) -> list[xr.Dataset]:
    """Return the tables in the order of their numbers, one of each part."""
    by_number: dict[int, xr.Dataset] = {}
    for place, table in enumerate(tables):
        attributes: Mapping[str, Any] = getattr(table, "attrs", {})
        missing = [name for name in _OF_PART if name not in attributes]
        if missing or attributes.get("schema") not in _DIMENSIONS:
            raise TableError(
                f"table {place} of those to join is no table of a part (it has no attribute "
                f"{', '.join(missing) or 'schema'}); give the results of calls with part=(k, K)"
            )
        number = int(attributes["part"])
        if number in by_number:
            raise TableError(f"part {number} is there twice; give each part once")
        rows = table.sizes.get(_DIMENSIONS[attributes["schema"]], 0)
        if rows != attributes["part_rows"]:
            raise TableError(
                f"part {number} has {rows} rows, but {attributes['part_rows']} were computed; give "
                "the tables as they were computed, and leave rows out of the whole"
            )
        by_number[number] = table
    if not tables:
        raise TableError("parts is empty, but must hold the table of each part")
    _check_equal([by_number[number] for number in sorted(by_number)], "parts", "numbers of parts")
    (count,) = {int(table.attrs["parts"]) for table in tables}
    holes = sorted(set(range(count)) - set(by_number))
    if holes:
        raise TableError(
            f"of {count} parts there are {len(by_number)}, without {_listed(holes)}; compute them "
            f"with part=({holes[0]}, {count})" + (" and so on" if len(holes) > 1 else "")
        )
    return [by_number[number] for number in range(count)]


def _listed(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers[:10]))
    return (
        f"part {named}" if len(numbers) == 1 else f"parts {named}" + ", ..." * (len(numbers) > 10)
    )


def _check_identity(tables: list[xr.Dataset]) -> None:
    _check_equal(tables, "schema", "kinds of tables")
    for name, what in _IDENTITY.items():
        _check_equal(tables, name, what)
    scores = [
        [table.attrs[f"baseline_{name}"] for name in ("loss", "accuracy")] for table in tables
    ]
    alike = np.isclose(scores, scores[0], rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True).all(1)
    if not alike.all():
        _refuse(tables, int(np.argmin(alike)), "baseline_loss", "networks or data")
    known = {*_OF_PART, *SAMPLING_ATTRIBUTES, "baseline_loss", "baseline_accuracy", *_OF_SOME}
    for name in sorted({str(name) for table in tables for name in table.attrs} - known):
        _check_equal(tables, name, "settings")


def _check_equal(tables: list[xr.Dataset], name: str, what: str) -> None:
    first: Any = tables[0].attrs.get(name)
    for place, table in enumerate(tables):
        stated: Any = table.attrs.get(name)
        if not np.array_equal(stated, first):
            _refuse(tables, place, name, what)


def _refuse(tables: list[xr.Dataset], place: int, name: str, what: str) -> None:
    parts = [int(tables[number].attrs["part"]) for number in (0, place)]
    values = [shown(tables[number].attrs.get(name)) for number in (0, place)]
    raise TableError(
        f"the parts are of different {what}: {name} of part {parts[0]} is {values[0]}, of part "
        f"{parts[1]} {values[1]}; join parts of one call, computed with equal arguments"
    )


def _blocks(table: xr.Dataset, dim: str) -> list[str]:
    """Return the block of each row, as a text."""
    named = [name for name in _BLOCKS if name in table.coords and table[name].dims == (dim,)]
    columns = [table[name].values.tolist() for name in named]
    return (
        [repr(names) for names in zip(*columns, strict=True)]
        if columns
        else [""] * table.sizes[dim]
    )


def _whole_order(blocks: list[list[str]]) -> Ints:
    """Return the places of the rows of the whole among those of all parts, one after another.

    Parameters
    ----------
    blocks
        Block of each row of each part.

    Raises
    ------
    TableError
        Where rows are missing.
    """
    names = list(dict.fromkeys(blocks[0]))  # part 0 has a row of each block
    counts = [sum(of_part.count(name) for of_part in blocks) for name in names]
    whole = np.repeat(names, counts) if names else np.array([], dtype=str)
    places: npt.NDArray[np.int64] = np.zeros(len(whole), np.int64)
    start = 0
    for number, of_part in enumerate(blocks):
        rows = rows_of_part(whole, (number, len(blocks)))
        if whole[rows].tolist() != of_part:
            sizes = ", ".join(str(len(of_part)) for of_part in blocks)
            raise TableError(
                f"the parts have {sizes} rows, which are no shares of one table by layer; give the "
                "tables as they were computed"
            )
        places[rows] = np.arange(start, start + len(rows))
        start += len(rows)
    return places


def _with_common_ends(curves: xr.Dataset) -> xr.Dataset:
    """Return curves whose set of all units has the scores of the first order of its variant."""
    blocks = np.array(_blocks(curves, "order"))
    first = np.array([int(np.argmax(blocks == block)) for block in blocks])
    ends = {name: curves[name].copy() for name in ("accuracy", "loss")}
    for array in ends.values():
        last = array.isel(ablated=-1)
        array[{"ablated": -1}] = last.values[first]
    return curves.assign(ends)


def _other_arithmetic(tables: list[xr.Dataset]) -> dict[str, str]:
    """Return the attribute ``doubts`` where parts were computed with other arithmetic, and warn."""
    found = (f"{table.attrs[_ARITHMETIC]}, {table.attrs.get('device')}" for table in tables)
    kinds = [*dict.fromkeys(found)]
    if len(kinds) == 1:
        return {}
    doubt = (
        f"parts were computed with other arithmetic ({'; '.join(kinds)}): last digits may differ"
    )
    warn_caller(
        f"{doubt} from those of the whole; compute all parts alike for equal bits", UserWarning
    )
    stated = tables[0].attrs.get("doubts")
    return {"doubts": doubt if stated is None else f"{stated}; {doubt}"}
