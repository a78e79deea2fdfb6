"""Networks trained with dropout: ablation up to the dropout fraction and past it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.figures.curves import HALF, Curve, ablation_curves, curve_legend, draw_chance
from unitlens.figures.needs import UnmetNeedError, figure, finding
from unitlens.plot.curve_plots import ablation_curve
from unitlens.plot.style import DASHES, GREY, colour, marker, new_figure
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@figure
def dropout_ablation(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw ablation curves of networks trained with dropout, and mark the dropout fraction."""
    curves = _dropout_curves(results, runs)
    drawn = new_figure(height=4.3)
    axes = drawn.subplots()
    fractions = sorted({_dropout(curve) for curve in curves})
    corruptions = sorted({_corruption(curve) for curve in curves})
    for curve in curves:
        place = corruptions.index(_corruption(curve))
        dash = DASHES[fractions.index(_dropout(curve)) % len(DASHES)]
        label = f"dropout {_dropout(curve):g}, corruption {_corruption(curve):g}"
        line = {"color": colour(place), "linestyle": dash, "marker": marker(place)}
        ablation_curve(curve.table, label=label, ax=axes, **line)
    for fraction in filter(None, fractions):
        axes.axvline(fraction, color=GREY, linewidth=1.2, zorder=1)
        text: dict[str, Any] = {"ha": "right", "va": "bottom", "color": GREY, "fontsize": 8.5}
        axes.text(fraction - 0.004, 0.17, f"dropout {fraction:g}", rotation=90, **text)
    draw_chance(axes, results, runs)
    curve_legend(drawn, [axes])
    return drawn


@finding
def dropout_ablation_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the accuracy lost up to the dropout fraction, and the accuracy left at one half."""
    dropped = [curve for curve in _dropout_curves(results, runs) if _dropout(curve) > 0]
    corruptions = sorted({_corruption(curve) for curve in dropped})
    losses, left = [], []
    for corruption in corruptions:
        own = [curve for curve in dropped if _corruption(curve) == corruption]
        loss = np.mean([curve.mean[0] - curve.at(_dropout(curve)) for curve in own])
        at_half = np.mean([curve.at(HALF) for curve in own])
        losses.append(f"{loss:.2f} at corruption {corruption:g}")
        left.append(f"{at_half:.2f} at corruption {corruption:g}")
    fractions = ", ".join(f"{value:g}" for value in sorted({_dropout(c) for c in dropped}))
    return (
        f"With as many units ablated as dropout dropped in training (dropout {fractions}), "
        f"accuracy has fallen by {'; '.join(losses)}. With half of all units ablated, it is "
        f"{'; '.join(left)}."
    )


def _dropout_curves(results: Results, runs: Sequence[str]) -> list[Curve]:
    """Return the curves of runs whose dropout is known; at least one must have dropout."""
    curves = ablation_curves(results, runs, ("dropout", "corruption"))
    known = [curve for curve in curves if curve.group.values["dropout"] is not None]
    if not any(_dropout(curve) > 0 for curve in known):
        raise UnmetNeedError(
            "needs a run that was trained with dropout, but none of its runs was; set "
            "model.dropout in one of its experiments"
        )
    return known


def _corruption(curve: Curve) -> float:
    return curve.setting("corruption")


def _dropout(curve: Curve) -> float:
    return curve.setting("dropout")
