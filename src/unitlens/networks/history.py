"""The scores of a network over its training, as a table."""

from collections.abc import Sequence
from pathlib import Path

from unitlens.networks.scoring import Score

HISTORY = "history.nc"


def write_history(directory: Path, history: Sequence[tuple[Score, Score]]) -> None:
    """Write ``history.nc``, schema ``history``.

    Parameters
    ----------
    directory
        Where to write.
    history
        Scores on the training and on the test set: before training, then after each epoch. They
        get the epochs 0, 1, 2, ...
    """
    import numpy as np
    import xarray as xr

    from unitlens.variables import annotate

    columns = {
        f"{split}_{figure}": ("epoch", np.array([getattr(row[place], figure) for row in history]))
        for place, split in enumerate(("train", "test"))
        for figure in ("loss", "accuracy")
    }
    table = annotate(xr.Dataset(columns, {"epoch": np.arange(len(history))}), "history")
    partial = directory / f"{HISTORY}.partial"
    table.to_netcdf(partial, engine="h5netcdf")
    partial.replace(directory / HISTORY)
