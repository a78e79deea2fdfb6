"""The paper's numbers, drawn beside ours where a configuration compares the two."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.analysis.run_groups import members_of
from unitlens.plot.style import GREY
from unitlens.reproduction.claim_types import ReportedNumber
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.experiment_runs import check_group
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = "paper (reading error)"  # in legends
PAPER_CAPTION = (
    "Diamonds are values that the paper reports, filled with the colour of ours where there are "
    "several; their bars are the reading error, hidden where it is smaller than the diamond."
)
_STYLE: dict[str, Any] = {
    "fmt": "D",
    "markersize": 6.5,
    "markeredgecolor": "black",
    "markeredgewidth": 1.2,
    "ecolor": "black",
    "elinewidth": 1.2,
    "capsize": 3,
    "zorder": 6,
}


@dataclass(frozen=True)
class PaperNumbers:
    """The numbers of the paper that a figure may show.

    Attributes
    ----------
    runs
        Group of the paper's results (a key of
        :data:`unitlens.reproduction.claims.PAPER_CLAIMS`) to the names of the runs that are
        compared with the group and shown in the figure.
    """

    runs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def beside(self, runs: Iterable[str]) -> dict[str, ReportedNumber]:
        """Return the numbers to draw beside runs, by the names of their claims.

        Parameters
        ----------
        runs
            Names of the runs in a part of the figure, such as those of one data set.

        Returns
        -------
        The numbers of each group that any of the runs is compared with; empty where there is none.
        """
        shown = set(runs)
        return {
            claim.name: claim.finding
            for group, compared in self.runs.items()
            if compared & shown
            for claim in PAPER_CLAIMS[group].claims
            if isinstance(claim.finding, ReportedNumber)
        }


NO_PAPER = PaperNumbers()


def paper_numbers(
    results: Results,
    figure: str,
    experiments: Sequence[str],
    paper: Mapping[str, Sequence[str]],
) -> PaperNumbers:
    """Return the numbers of the paper that belong to experiments of a figure.

    Parameters
    ----------
    results
        The results.
    figure
        Name of the figure. Groups whose declaration does not name the figure are left out.
    experiments
        The experiments that the figure shows.
    paper
        Group of results (a key of :data:`unitlens.catalogue.comparisons.COMPARISONS`) to the
        experiments that are compared with it.

    Raises
    ------
    TableError
        Where there is no group of such a name.
    """
    runs = {}
    for group, compared in paper.items():
        check_group(group)
        shown = [name for name in experiments if name in compared]
        if shown and group in PAPER_CLAIMS and figure in PAPER_CLAIMS[group].figures:
            members = members_of(results.runs, shown, f"paper.{group} names")
            runs[group] = frozenset(map(str, members["run"].values))
    return PaperNumbers(runs)


def draw_paper(
    axes: "Axes",
    x: "float | ReportedNumber",
    y: "float | ReportedNumber",
    *,
    face: Any = "none",
    **style: Any,
) -> None:
    """Draw a number of the paper as a diamond, with a bar of its reading error.

    Parameters
    ----------
    axes
        The axes; their legend names the first diamond.
    x, y
        The place of the diamond. The coordinate that the paper reports is the number, which has
        the bar; the other one is a float.
    face
        Colour of the diamond: that of our value, where the axes show several.
    style
        Other properties, such as ``transform``.
    """
    places: dict[str, float] = {}
    errors: dict[str, Any] = {}
    for name, value in {"x": x, "y": y}.items():
        if isinstance(value, ReportedNumber):
            places[name], errors[f"{name}err"] = value.value, value.error
        else:
            places[name] = value
    if PAPER not in axes.get_legend_handles_labels()[1]:
        axes.errorbar([], [], yerr=[], markerfacecolor="none", label=PAPER, **_STYLE)
    axes.errorbar(places["x"], places["y"], **errors, **_STYLE | {"markerfacecolor": face} | style)


def shows_paper(figure: "Figure") -> bool:
    """Return whether a number of the paper is drawn anywhere in a figure."""
    return any(PAPER in axes.get_legend_handles_labels()[1] for axes in figure.axes)


def draw_correlation_strip(
    axes: "Axes", ours: Mapping[str, Sequence[float]], paper: ReportedNumber, name: str
) -> None:
    """Draw our correlations as dots on a line from -1 to 1, and that of the paper.

    Parameters
    ----------
    axes
        Low axes.
    ours
        Colour to correlations; those that are NaN are left out.
    paper
        The correlation in the paper.
    name
        What is correlated.
    """
    for shade, values in ours.items():
        axes.scatter(values, np.zeros(len(values)), s=34, color=shade, alpha=0.8, linewidths=0)
    draw_paper(axes, paper, 0.0)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_xlim(-1.04, 1.04)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(name)
