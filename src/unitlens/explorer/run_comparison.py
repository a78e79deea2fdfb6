"""The table of what differs between runs, or between epochs of a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from unitlens.explorer.text_panes import as_text


def compared_runs(runs: xr.Dataset, chosen: list[str]) -> pd.DataFrame:
    """Return what differs between runs, a row each, and a column a run.

    Parameters
    ----------
    runs
        The table :attr:`Results.runs`.
    chosen
        Names of the runs.

    Returns
    -------
    Rows are words for the variables of the table in which the runs differ, with units; values are
    text.
    """
    table = runs.sel(run=chosen)
    rows: dict[str, list[str]] = {}
    for name, variable in table.variables.items():
        if variable.dims != ("run",) or name == "run":
            continue
        words, units = variable.attrs.get("long_name", str(name)), variable.attrs.get("units", "")
        told = [_told(value, units) for value in variable.values.tolist()]
        if len(set(told)) > 1 or len(chosen) == 1:
            rows[f"{words} ({units})" if units not in {"", "1"} else words] = told
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=chosen)
    return frame.rename_axis("differs in" if len(chosen) > 1 else "property")


def _told(value: object, units: str) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if np.isfinite(value) else "none"
    counted = isinstance(value, int) and units in {"units", "samples"}
    return "not measured" if counted and str(value).startswith("-") else str(value)


def comparison_table(frame: pd.DataFrame, words: Mapping[str, str] | None = None) -> Any:
    """Return the table of a comparison as it is shown.

    Parameters
    ----------
    frame
        What :func:`compared_runs` returns.
    words
        What its columns are called where not by their names.
    """
    import panel as pn

    table = frame.rename(columns=dict(words or {})).reset_index()
    return pn.widgets.Tabulator(
        table,
        titles={str(name): as_text(str(name)) for name in table.columns},
        editors=dict.fromkeys(table.columns),
        disabled=True,
        show_index=False,
        selectable=False,
        layout="fit_data",
        sizing_mode="stretch_width",
    )
