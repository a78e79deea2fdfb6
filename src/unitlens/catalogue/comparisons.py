"""Groups of results that can be compared with the paper's, or with later work's.

One declaration a group. Its title, figures and claims are in ``unitlens.reproduction``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class Comparison:
    """A group of results that the configuration's ``paper`` section can name.

    Attributes
    ----------
    name
        Name of the group in the configuration and in ``paper.csv``.
    module
        Module of ``unitlens.reproduction`` with the function that computes our results.
    function
        Name of that function. The function takes the runs of the experiments that are named for
        the group, and yields the name of each claim with the measurement of our result.
    needs
        Sections of the measurements without which the results cannot be computed.
    over_epochs
        Whether these sections must be measured at the kept epochs as well.
    """

    name: str
    module: str
    function: str
    needs: tuple[str, ...]
    over_epochs: bool = False


_CURVES, _NOISE, _MEASURES = ("cumulative_ablation",), ("noise_robustness",), ("measures",)
_UNITS = ("measures", "unit_ablation")
_DECLARATIONS = (
    Comparison("mnist_ablation", "evidence_curves", "mnist_ablation", _CURVES),
    Comparison("cifar10_ablation", "evidence_curves", "robustness", _CURVES),
    Comparison("imagenet_ablation", "evidence_curves", "robustness", _CURVES),
    Comparison("mnist_noise", "evidence_noise", "mnist_noise", _NOISE),
    Comparison("cifar10_noise", "evidence_noise", "cifar10_noise", _NOISE),
    Comparison("same_data", "evidence_same_data", "same_data", _CURVES),
    Comparison("early_stopping", "evidence_training", "early_stopping", _CURVES, over_epochs=True),
    Comparison("hyperparameter_selection", "evidence_sweeps", "hyperparameter_selection", _CURVES),
    Comparison("dropout", "evidence_dropout", "dropout", _CURVES),
    Comparison("batch_norm_ablation", "evidence_curves", "batch_norm_ablation", _CURVES),
    Comparison(
        "batch_norm_selectivity", "evidence_distributions", "batch_norm_selectivity", _MEASURES
    ),
    Comparison(
        "batch_norm_information", "evidence_distributions", "batch_norm_information", _MEASURES
    ),
    Comparison("mnist_importance", "evidence_units", "mnist_importance", _UNITS),
    Comparison("cifar10_importance", "evidence_units", "cifar10_importance", _UNITS),
    Comparison("imagenet_importance", "evidence_units", "imagenet_importance", _UNITS),
    Comparison("clamping", "evidence_curves", "clamping", _CURVES),
    Comparison("mnist_l1_norm", "evidence_units", "l1_norm_selectivity", _MEASURES),
    Comparison("cifar10_l1_norm", "evidence_units", "l1_norm_selectivity", _MEASURES),
    Comparison("imagenet_l1_norm", "evidence_units", "l1_norm_selectivity", _MEASURES),
    Comparison("mnist_information", "evidence_units", "information_importance", _UNITS),
    Comparison("cifar10_information", "evidence_units", "information_importance", _UNITS),
    Comparison("imagenet_information", "evidence_units", "information_importance", _UNITS),
    # Beyond the paper: claims of later work and open questions.
    Comparison("random_directions", "evidence_follow_ups", "random_directions", _CURVES),
    Comparison("mnist_measure_orders", "evidence_follow_ups", "measure_orders", _CURVES),
    Comparison("cifar10_measure_orders", "evidence_follow_ups", "measure_orders", _CURVES),
    Comparison("mnist_class_damage", "evidence_follow_ups", "class_damage", _UNITS),
    Comparison("cifar10_class_damage", "evidence_follow_ups", "class_damage", _UNITS),
    Comparison("mnist_measure_agreement", "evidence_follow_ups", "measure_agreement", _MEASURES),
    Comparison("cifar10_measure_agreement", "evidence_follow_ups", "measure_agreement", _MEASURES),
    Comparison("mnist_l1_importance", "evidence_follow_ups", "l1_norm_importance", _UNITS),
    Comparison("cifar10_l1_importance", "evidence_follow_ups", "l1_norm_importance", _UNITS),
    Comparison("imagenet_l1_importance", "evidence_follow_ups", "l1_norm_importance", _UNITS),
    Comparison("regulariser", "evidence_follow_ups", "regulariser", (*_MEASURES, *_CURVES)),
    Comparison(
        "selectivity_over_training",
        "evidence_follow_ups",
        "selectivity_over_training",
        _UNITS,
        over_epochs=True,
    ),
    Comparison("mnist_selectivity_depth", "evidence_units", "selectivity_depth", _MEASURES),
    Comparison("cifar10_selectivity_depth", "evidence_units", "selectivity_depth", _MEASURES),
    Comparison("imagenet_selectivity_depth", "evidence_units", "selectivity_depth", _MEASURES),
    Comparison("largest_auc", "evidence_training", "largest_auc", _CURVES, over_epochs=True),
    Comparison("dropout_training", "evidence_dropout", "dropout_training", ()),
)
# In the order of the page.
COMPARISONS: dict[str, Comparison] = {declared.name: declared for declared in _DECLARATIONS}

if TYPE_CHECKING:
    ComparisonName = str
else:
    ComparisonName = Literal[*COMPARISONS]
