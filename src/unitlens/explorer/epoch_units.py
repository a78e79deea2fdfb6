"""The units of a network at two epochs, side by side as columns of one table."""

import numpy as np
import xarray as xr

from unitlens.errors import TableError
from unitlens.explorer.kept_epochs import epoch_words

_NAMES = ("run", "layer", "channel", "depth")


def joined_epochs(
    first: xr.Dataset, second: xr.Dataset, epochs: tuple[float | None, float | None]
) -> xr.Dataset:
    """Return the measures of units at two epochs in one table.

    Parameters
    ----------
    first, second
        Tables of the units of one network, each at one epoch, on the dimension ``unit``.
    epochs
        The two epochs; None for the end of training.

    Returns
    -------
    Table of the units on ``unit``, with each number of a unit twice: ``NAME@first`` and
    ``NAME@second``, whose long names end with the epoch.

    Raises
    ------
    TableError
        Where the tables are not of the same units.
    """
    for axis in ("layer", "channel"):
        if not np.array_equal(first[axis].values, second[axis].values):
            raise TableError(
                f"the units of {epoch_words(epochs[0])} and {epoch_words(epochs[1])} are not the "
                "same; choose two other epochs"
            )
    columns = {}
    for table, key, epoch in zip((first, second), ("first", "second"), epochs, strict=True):
        for name, values in table.data_vars.items():
            if values.dims == ("unit",) and values.dtype.kind == "f":
                words = f"{values.attrs.get('long_name', name)}, {epoch_words(epoch)}"
                attributes = values.attrs | {"long_name": words}
                columns[f"{name}@{key}"] = ("unit", values.variable.values, attributes)
    names = {name: ("unit", first[name].values) for name in _NAMES}
    return xr.Dataset(columns, coords=names)
