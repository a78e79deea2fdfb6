"""Medians and quartiles of a measure in each layer of runs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from unitlens.explorer.unit_columns import UnitColumns


def depth_medians(columns: UnitColumns, measure: str, runs: Sequence[str]) -> pd.DataFrame:
    """Return quartiles of a measure in each layer of runs.

    Parameters
    ----------
    columns
        The units.
    measure
        Name of the variable.
    runs
        Names of the runs.

    Returns
    -------
    One row a run and layer: ``run``, ``layer``, ``depth``, ``low``, ``median`` and ``high`` (the
    quartiles over the units whose value is defined), ``units`` (how many these are) and
    ``undefined`` (how many are left out).
    """
    rows = columns.rows_of(runs)
    frame = pd.DataFrame(
        {
            "run": np.array(columns.runs, object)[columns.run_codes[rows]],
            "layer": np.array(columns.layers, object)[columns.layer_codes[rows]],
            "depth": columns.depths[rows],
            "value": columns.values(measure)[rows],
        }
    )
    found = []
    for (run, depth, layer), values in frame.groupby(["run", "depth", "layer"], sort=False)[
        "value"
    ]:
        defined = values.to_numpy()[np.isfinite(values.to_numpy())]
        low, median, high = np.percentile(defined, [25, 50, 75]) if defined.size else [np.nan] * 3
        found.append(
            {
                "run": run,
                "layer": layer,
                "depth": depth,
                "low": low,
                "median": median,
                "high": high,
                "units": defined.size,
                "undefined": values.size - defined.size,
            }
        )
    table = pd.DataFrame(found)
    return table.sort_values("depth", kind="stable", ignore_index=True)
