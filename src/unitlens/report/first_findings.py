"""What the page tells first: the findings of three figures, a sentence each."""

import re
from collections.abc import Sequence
from typing import Any

COUNT = 3
# Robustness of networks that memorise, importance of selective units, robustness as a sign of
# generalisation: the questions of the paper come before those of other figures.
FIRST = (
    "memorisation_ablation",
    "selectivity_importance",
    "auc_test_accuracy",
    "early_stopping",
    "memorisation_noise",
    "batch_norm_ablation",
)
_NOT_DRAWN = "Not drawn:"


def first_findings(figures: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the first sentence of the findings of the three figures that matter most.

    Parameters
    ----------
    figures
        The figures of the page, each with ``name``, ``title``, ``finding`` and ``contradictions``,
        the sentences of :func:`unitlens.report.contradictions.contradictions`.

    Returns
    -------
    For each of at most three figures ``name``, ``title``, ``sentence``, and in ``contradicts`` a
    few words where the figure contradicts the paper. A figure that was not drawn has no finding.

    Examples
    --------
    >>> finding = "AUC is 0.85 at corruption 0 (p < .001). It falls."
    >>> figure = {"name": "a", "title": "A", "finding": finding, "contradictions": []}
    >>> first_findings([figure])[0]["sentence"]
    'AUC is 0.85 at corruption 0 (p < .001).'
    """
    told = [figure for figure in figures if not figure["finding"].startswith(_NOT_DRAWN)]
    ranks = {name: rank for rank, name in enumerate(FIRST)}
    told.sort(key=lambda figure: ranks.get(figure["name"], len(FIRST)))
    return [
        {
            "name": figure["name"],
            "title": figure["title"],
            "sentence": _first_sentence(figure["finding"]),
            "contradicts": "contrary to the paper" if figure["contradictions"] else "",
        }
        for figure in told[:COUNT]
    ]


def _first_sentence(text: str) -> str:
    """Return the text up to the first full stop before a capital letter."""
    return re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0]
