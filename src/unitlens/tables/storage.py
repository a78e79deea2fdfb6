"""Tables over all networks on disk: how a Zarr table is read, and what a Parquet file holds."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.tables.checked_store import open_checked
from unitlens.variables.schemas import SCHEMAS
from unitlens.variables.unit_index import RUN_UNIT_NAMES

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("unitlens")

# Schema of each table by the name of the table.
TABLES = {
    "runs": "runs",
    "units": "units",
    "curves": "curves",
    "noise": "noise",
    "history": "histories",
    "correlations": "correlations",
}


def read_table(path: Path, hashes: Mapping[str, str]) -> xr.Dataset:
    """Open one table; text is read at once, numbers are read when they are used.

    The variables are in the order of the table's schema, because a Zarr group has no order.

    Parameters
    ----------
    path
        The table, ``{name}.zarr``.
    hashes
        Path of each file in the table to the hash of its bytes.

    Raises
    ------
    TableError
        Where a file is missing or differs from its hash; also later, when numbers are read.
    """
    store = open_checked(path, hashes)
    table = with_object_text(xr.open_zarr(store, chunks=None, consolidated=False))
    rules = SCHEMAS[TABLES[path.stem]]
    declared = [name for name in rules.names if name in table.data_vars]
    rest = sorted(str(name) for name in table.data_vars if name not in declared)
    return table[[*rest, *declared]]


def with_object_text(table: xr.Dataset) -> xr.Dataset:
    """Return a table with its text as Python strings."""
    # Fixed-width text of NumPy has no Zarr v3 specification, and most of pandas does not support
    # variable-width text of NumPy. Plain Python strings work in both.
    text = [name for name, array in table.variables.items() if array.dtype.kind in "UT"]
    return table.assign({name: _python_strings(table[name].variable) for name in text})


def _python_strings(text: xr.Variable) -> xr.Variable:
    # Equal words are one object, which takes a tenth of the memory where few words repeat. What
    # xarray looks for in columns of objects (dates, for instance) is not among strings.
    import pandas as pd

    codes, words = pd.factorize(text.values.astype(object).ravel())
    return xr.Variable(text.dims, words[codes].reshape(text.shape), text.attrs, fastpath=True)


def tidy_frame(table: xr.Dataset, name: str) -> "pd.DataFrame":
    """Return a table as a data frame: one row a unit, run, step of a curve, draw or epoch.

    Parameters
    ----------
    table
        A table.
    name
        Name of the table, of :data:`TABLES`.

    Returns
    -------
    The frame. Variables with a value for each unit and class are left out (the Zarr store has
    them), as is the padding of shorter curves and histories. The experiments of a run are columns
    ``member_{experiment}``.
    """
    if name == "units":
        # A column for each name of a unit: indexed coordinates would be left out.
        unindexed = _without(table, "class").drop_indexes(RUN_UNIT_NAMES, errors="ignore")
        return unindexed.to_dataframe().reset_index(drop=True)
    if name == "runs":
        frame = _without(table, "experiment").to_dataframe().reset_index()
        for experiment in table["experiment"].values:
            frame[f"member_{experiment}"] = table["member"].sel(experiment=experiment).values
        return frame
    if name == "correlations":
        return table.to_dataframe().reset_index(drop=True)
    return _long(table)


def _without(table: xr.Dataset, dim: str) -> xr.Dataset:
    return table.drop_vars([key for key, array in table.variables.items() if dim in array.dims])


def _long(table: xr.Dataset) -> "pd.DataFrame":
    # Runs are numbered meanwhile, because the kept epochs of one run share its name.
    names = table["run"].values
    frame = table.drop_vars("run").to_dataframe().reset_index()
    frame["run"] = np.asarray(names, object)[frame["run"]]
    frame = frame.dropna(subset=_padded(table)).reset_index(drop=True)
    return frame[["run", *frame.columns.drop("run")]]


def _padded(table: xr.Dataset) -> list[str]:
    return [name for name in ("accuracy", "train_loss") if name in table]


def same_attributes(
    attributes: Iterable[Mapping[Any, Any]], *, prefix: str = ""
) -> dict[str, object]:
    """Return the attributes on which all tables agree, apart from those of the schema.

    Parameters
    ----------
    attributes
        The attributes of each table.
    prefix
        Text before the name of each attribute.
    """
    rows = list(attributes)
    devices = dict.fromkeys(str(row["device"]) for row in rows if "device" in row)
    if len(devices) > 1:
        logger.warning(
            "networks of one table were measured on different devices, whose last digits may "
            "differ: %s", "; ".join(devices),
        )  # fmt: skip
    first = rows[0] if rows else {}
    return {
        f"{prefix}{key}": _plain(value)
        for key, value in first.items()
        if key not in ("schema", "schema_version")
        and all(key in row and np.array_equal(row[key], value) for row in rows)
    }


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
