"""Figures, one function each; :func:`draw_figures` draws what a configuration asks for."""

from unitlens.figures.agreement import class_damage, measure_agreement
from unitlens.figures.auc_generalisation import auc_over_training, auc_test_accuracy
from unitlens.figures.batch_norm import (
    batch_norm_ablation,
    batch_norm_information,
    batch_norm_selectivity,
)
from unitlens.figures.course import early_stopping, selectivity_over_training
from unitlens.figures.draw import draw_figures
from unitlens.figures.hyperparameters import hyperparameter_selection
from unitlens.figures.memorisation import (
    dropout_ablation,
    memorisation_ablation,
    memorisation_noise,
)
from unitlens.figures.regulariser import regulariser
from unitlens.figures.same_data import same_data_auc, same_data_curves
from unitlens.figures.selectivity_figures import (
    information_importance,
    l1_norm_importance,
    selectivity_depth,
    selectivity_importance,
    selectivity_l1_norm,
)
from unitlens.figures.variants import bases, clamping, measure_orders

__all__ = [
    "auc_over_training",
    "auc_test_accuracy",
    "bases",
    "batch_norm_ablation",
    "batch_norm_information",
    "batch_norm_selectivity",
    "clamping",
    "class_damage",
    "draw_figures",
    "dropout_ablation",
    "early_stopping",
    "hyperparameter_selection",
    "information_importance",
    "l1_norm_importance",
    "measure_agreement",
    "measure_orders",
    "memorisation_ablation",
    "memorisation_noise",
    "regulariser",
    "same_data_auc",
    "same_data_curves",
    "selectivity_depth",
    "selectivity_importance",
    "selectivity_l1_norm",
    "selectivity_over_training",
]
