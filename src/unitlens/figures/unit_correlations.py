"""Class selectivity, mutual information and L1 norm of units beside importance and each other."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from unitlens.figures.needs import figure, finding, require_units
from unitlens.figures.paper_correlations import draw_paper_correlations
from unitlens.figures.paper_marks import NO_PAPER, PaperNumbers
from unitlens.figures.scatter import (
    ScatterRow,
    TakeUnits,
    draw_correlations,
    draw_scatter,
    tell_correlation,
)
from unitlens.figures.wording import tell_by_dataset
from unitlens.plot.style import draw_zero, log_ticks, scale_symlog
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

L1_NORM = "L1 norm of the incoming weights"
IMPORTANCE = "loss_increase"


@figure
def selectivity_importance(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw each unit's selectivity against its importance, and their correlation by layer."""
    drawn, rows = _draw_importance(results, runs, "selectivity")
    for row in rows:
        row.axes.set_xlim(-0.02, 1.02)
        row.axes.set_xlabel("class selectivity")
        if numbers := paper.beside(row.units["run"].values.tolist()):
            draw_paper_correlations(row, IMPORTANCE, "selectivity", numbers)
    return drawn


@finding
def selectivity_importance_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    return _tell_importance(results, runs, "selectivity", "class selectivity")


@figure
def information_importance(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's information against its importance, and their correlation by layer."""
    drawn, rows = _draw_importance(results, runs, "mutual_information")
    for axes, _, _ in rows:
        axes.set_xlabel("mutual information with the class (nats)")
    return drawn


@finding
def information_importance_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    return _tell_importance(results, runs, "mutual_information", "mutual information")


@figure
def l1_norm_importance(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's L1 norm against its importance, and their correlation by layer."""
    drawn, rows = _draw_importance(results, runs, "l1_norm")
    for axes, _, _ in rows:
        log_ticks(axes)
        axes.set_xlabel(L1_NORM)
    return drawn


@finding
def l1_norm_importance_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    return _tell_importance(results, runs, "l1_norm", f"the {L1_NORM}")


@figure
def selectivity_l1_norm(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's L1 norm against its selectivity, and their correlation by layer."""
    drawn, rows = _draw_pair(results, runs, "l1_norm", "selectivity")
    for axes, _, _ in rows:
        log_ticks(axes)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(L1_NORM)
        axes.set_ylabel("class selectivity")
    return drawn


@finding
def selectivity_l1_norm_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    pair = f"the {L1_NORM} and selectivity"
    return _tell_pair(results, runs, "l1_norm", "selectivity", pair)


def _draw_importance(
    results: Results, runs: Sequence[str], measure: str
) -> "tuple[Figure, list[ScatterRow]]":
    """Draw a measure against the loss increase."""
    drawn, rows = _draw_pair(results, runs, measure, IMPORTANCE)
    for axes, _, units in rows:
        scale_symlog(axes, units[IMPORTANCE].values)
        draw_zero(axes)
        axes.set_ylabel("loss increase when ablated (nats)")
    return drawn, rows


def _tell_importance(results: Results, runs: Sequence[str], measure: str, name: str) -> str:
    """Tell the correlation of a measure with importance, for each data set."""
    pair = f"{name} and importance (loss increase)"
    return _tell_pair(results, runs, measure, IMPORTANCE, pair)


def _draw_pair(
    results: Results, runs: Sequence[str], measure: str, target: str
) -> "tuple[Figure, list[ScatterRow]]":
    """Draw the units by two variables, and the correlations of the two by layer."""
    drawn, rows = draw_scatter(results, runs, _units_with(measure, target), measure, target)
    for row in rows:
        draw_correlations(row.side, row.units, target, measure)
    return drawn, rows


def _tell_pair(results: Results, runs: Sequence[str], measure: str, target: str, pair: str) -> str:
    """Tell the correlation of two variables, for each data set."""
    take_units = _units_with(measure, target)

    def tell(results: Results, runs: Sequence[str]) -> str:
        return tell_correlation(take_units(results, runs), target, measure, pair)

    return tell_by_dataset(results, runs, tell)


def _units_with(*variables: str) -> TakeUnits:
    return partial(require_units, variables=variables)
