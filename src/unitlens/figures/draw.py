"""Draw the figures that a configuration asks for, with what each shows."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unitlens.analysis.run_groups import members_of
from unitlens.errors import TableError, nearest
from unitlens.figures import (
    agreement,
    auc_generalisation,
    batch_norm,
    course,
    hyperparameters,
    memorisation,
    regulariser,
    same_data,
    selectivity_figures,
    variants,
)
from unitlens.figures.captions import CAPTIONS, TITLES
from unitlens.figures.selection import Tell
from unitlens.figures.style import save
from unitlens.progress import track
from unitlens.tables.results import Results, open_results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("unitlens")

Draw = Callable[[Results, Sequence[str]], "Figure"]

FIGURES: dict[str, tuple[Draw, Tell]] = {
    draw.__name__: (draw, tell)
    for draw, tell in (
        (memorisation.memorisation_ablation, memorisation.memorisation_ablation_finding),
        (memorisation.memorisation_noise, memorisation.memorisation_noise_finding),
        (memorisation.dropout_ablation, memorisation.dropout_ablation_finding),
        (batch_norm.batch_norm_ablation, batch_norm.batch_norm_ablation_finding),
        (batch_norm.batch_norm_selectivity, batch_norm.batch_norm_selectivity_finding),
        (batch_norm.batch_norm_information, batch_norm.batch_norm_information_finding),
        (
            selectivity_figures.selectivity_importance,
            selectivity_figures.selectivity_importance_finding,
        ),
        (selectivity_figures.selectivity_l1_norm, selectivity_figures.selectivity_l1_norm_finding),
        (selectivity_figures.l1_norm_importance, selectivity_figures.l1_norm_importance_finding),
        (auc_generalisation.auc_test_accuracy, auc_generalisation.auc_test_accuracy_finding),
        (auc_generalisation.auc_over_training, auc_generalisation.auc_over_training_finding),
        (selectivity_figures.selectivity_depth, selectivity_figures.selectivity_depth_finding),
        (same_data.same_data_auc, same_data.same_data_auc_finding),
        (same_data.same_data_curves, same_data.same_data_curves_finding),
        (
            hyperparameters.hyperparameter_selection,
            hyperparameters.hyperparameter_selection_finding,
        ),
        (course.early_stopping, course.early_stopping_finding),
        (variants.clamping, variants.clamping_finding),
        (variants.bases, variants.bases_finding),
        (variants.measure_orders, variants.measure_orders_finding),
        (agreement.class_damage, agreement.class_damage_finding),
        (agreement.measure_agreement, agreement.measure_agreement_finding),
        (
            selectivity_figures.information_importance,
            selectivity_figures.information_importance_finding,
        ),
        (regulariser.regulariser, regulariser.regulariser_finding),
        (course.selectivity_over_training, course.selectivity_over_training_finding),
    )
}


def draw_figures(
    results: str | Path, figures: Mapping[str, Sequence[str]], directory: str | Path
) -> None:
    """Draw figures as SVG and PNG, and write what each shows to ``figures.json``.

    Parameters
    ----------
    results
        A results directory with its tables.
    figures
        Name of each figure to the experiments that it shows.
    directory
        Where ``{name}.svg``, ``{name}.png`` and ``figures.json`` are written: a list, in the
        order of `figures`, of name, title, caption, finding (two sentences with their numbers)
        and experiments.

    Raises
    ------
    TableError
        Where a figure or an experiment does not exist, or what a figure needs was not measured;
        it names both.
    """
    opened, directory = open_results(results), Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, experiments in track(figures.items(), "draw figures", total=len(figures)):
        if name not in FIGURES:
            raise TableError(f"there is no figure '{name}'; {nearest(name, FIGURES)}")
        runs = runs_of(opened, experiments, name)
        draw, tell = FIGURES[name]
        save(draw(opened, runs), directory, name)
        words = {"name": name, "title": TITLES[name], "caption": CAPTIONS[name]}
        written.append(words | {"finding": tell(opened, runs), "experiments": list(experiments)})
        logger.info("drew %s from %d runs", name, len(runs))
    text = json.dumps(written, indent=2, ensure_ascii=False) + "\n"
    (directory / "figures.json").write_text(text, encoding="utf-8")


def runs_of(results: Results, experiments: Sequence[str], figure: str) -> list[str]:
    """Return the names of the runs of experiments, in the order of the table of runs."""
    shown = members_of(results.runs, experiments, f"the figure {figure} is to show")
    return list(map(str, shown["run"].values))
