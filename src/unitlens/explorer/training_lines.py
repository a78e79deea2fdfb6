"""Plots of training: accuracy and loss over the epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from unitlens.explorer.robustness_lines import plot_pane
from unitlens.explorer.run_lines import RunLine, draw_lines


def training_plots(
    histories: Sequence[tuple[str, xr.Dataset]], marked: Mapping[float, str] | None = None
) -> list[Any]:
    """Draw accuracy and loss over the epochs, of the training and the test set.

    Parameters
    ----------
    histories
        The colour of each run, and its row of the table of the history.
    marked
        Epochs that a vertical line marks, with its colour.
    """
    drawn = []
    for name, units in {"accuracy": "", "loss": " (nats)"}.items():
        lines = []
        for colour, row in histories:
            epochs = np.asarray(row["epoch"].values, np.float64)
            for split in ("train", "test"):
                values = np.asarray(row[f"{split}_{name}"].values, np.float64)
                there = np.isfinite(values)
                lines.append(RunLine(colour, epochs[there], values[there], kind=split))
        title = "train: solid, test: dashed"
        drawn.append(plot_pane(draw_lines(lines, title, "epoch", name + units, marked=marked)))
    return drawn
