"""The figures that a configuration can ask for, each declared once."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FigureDeclaration:
    """The declaration of one figure.

    The function `name` of the module ``unitlens.figures.{module}`` draws the figure. The function
    ``{name}_finding`` of the same module tells its finding.

    Attributes
    ----------
    name
        Name of the figure in the configuration and of its files.
    module
        Module of :mod:`unitlens.figures` that holds the two functions.
    title
        Heading above the figure.
    caption
        Text below the figure; it holds for all numbers.
    needs
        Sections of the configuration's ``measurements`` that the figure cannot be drawn without.
    needs_kept
        Those of `needs` that must be measured at the kept epochs as well.
    compares
        Key of ``measurements.cumulative_ablation`` in which the compared curves differ: ``by``
        (an order by a measure beside random orders), ``value`` or ``basis`` (at least two each).
        None for a figure that compares no such curves.
    shows_paper
        Whether the function that draws takes the paper's numbers, as the keyword `paper`.
    """

    name: str
    module: str
    title: str
    caption: str
    needs: tuple[str, ...]
    needs_kept: tuple[str, ...] = ()
    compares: Literal["by", "value", "basis"] | None = None
    shows_paper: bool = False


_RANDOM_ORDERS = (
    "Units of all measured layers are clamped to a given value in random orders, more and more "
    "units together. Lines are means over orders and networks, bands one standard deviation to "
    "either side."
)
_UNITS_AND_LAYERS = (
    "Left: each dot is a unit. Right: each dot is the rank correlation within one layer of one "
    "network. Each row is a data set."
)
_NEAR_ZERO = "The vertical axis is linear near zero."
_BEST_AND_WORST = (
    "Best and worst are the five networks with the smallest and with the largest error, or a "
    "quarter of all networks where that is fewer. Networks trained on permuted labels are left "
    "out."
)

FIGURES: dict[str, FigureDeclaration] = {
    declared.name: declared
    for declared in (
        FigureDeclaration(
            name="memorisation_ablation",
            module="memorisation",
            title="Ablating units of networks that memorise",
            caption="Accuracy against the share of units ablated, by the fraction of training "
            f"labels that was permuted. {_RANDOM_ORDERS}",
            needs=("cumulative_ablation",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="memorisation_noise",
            module="memorisation",
            title="Noise on the units of networks that memorise",
            caption="Accuracy against the scale of Gaussian noise added to all units at once, by "
            "the fraction of training labels that was permuted. A scale of 1 is the standard "
            "deviation of each unit's elements, or of each unit, as the axis says. Lines are means "
            "over draws and networks, bands one standard deviation to either side.",
            needs=("noise_robustness",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="dropout_ablation",
            module="dropout_curves",
            title="Ablating units of networks trained with dropout",
            caption="Accuracy against the share of units ablated, for networks trained with "
            f"dropout. Vertical lines mark the dropout fraction. {_RANDOM_ORDERS}",
            needs=("cumulative_ablation",),
        ),
        FigureDeclaration(
            name="batch_norm_ablation",
            module="batch_norm",
            title="Ablating units with and without batch norm",
            caption="Accuracy against the share of units ablated, with and without batch norm. "
            f"{_RANDOM_ORDERS}",
            needs=("cumulative_ablation",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="batch_norm_selectivity",
            module="batch_norm",
            title="Class selectivity with and without batch norm",
            caption="Distribution of class selectivity over all units of the networks with and "
            "without batch norm.",
            needs=("measures",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="batch_norm_information",
            module="batch_norm",
            title="Mutual information with and without batch norm",
            caption="Distribution of the mutual information between a unit's activation and the "
            "class, over all units of the networks with and without batch norm.",
            needs=("measures",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="selectivity_importance",
            module="unit_correlations",
            title="Are selective units important?",
            caption="Increase of the loss when a unit alone is ablated, against its class "
            f"selectivity. {_NEAR_ZERO} {_UNITS_AND_LAYERS}",
            needs=("measures", "unit_ablation"),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="selectivity_l1_norm",
            module="unit_correlations",
            title="Do selective units have large weights?",
            caption="Class selectivity of a unit against the L1 norm of its incoming weights. "
            f"{_UNITS_AND_LAYERS}",
            needs=("measures",),
        ),
        FigureDeclaration(
            name="l1_norm_importance",
            module="unit_correlations",
            title="Are units with large weights important?",
            caption="Increase of the loss when a unit alone is ablated, against the L1 norm of "
            f"its incoming weights. {_NEAR_ZERO} {_UNITS_AND_LAYERS}",
            needs=("measures", "unit_ablation"),
        ),
        FigureDeclaration(
            name="auc_test_accuracy",
            module="auc_generalisation",
            title="Robustness to ablation and test accuracy",
            caption="Test accuracy against the area under the cumulative ablation curve, divided "
            "by the largest area shown. Each dot is a network.",
            needs=("cumulative_ablation",),
        ),
        FigureDeclaration(
            name="auc_over_training",
            module="training_course",
            title="Robustness to ablation over the course of training",
            caption="Area under the cumulative ablation curve at the kept epochs (above), train "
            "and test loss after every epoch and at the kept epochs between (below).",
            needs=("cumulative_ablation",),
            needs_kept=("cumulative_ablation",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="selectivity_depth",
            module="depth",
            title="Class selectivity by depth",
            caption="Median and quartiles of class selectivity in each layer.",
            needs=("measures",),
        ),
        FigureDeclaration(
            name="importance_depth",
            module="depth",
            title="Importance by depth",
            caption="Median and quartiles of the loss increase when a unit alone is ablated, in "
            f"each layer. {_NEAR_ZERO}",
            needs=("unit_ablation",),
        ),
        FigureDeclaration(
            name="same_data_auc",
            module="auc_generalisation",
            title="Robustness to ablation and generalisation on the same data",
            caption="Generalisation error (1 - test accuracy) against the area under the "
            "cumulative ablation curve, divided by the largest area shown. Each dot is a network. "
            f"{_BEST_AND_WORST}",
            needs=("cumulative_ablation",),
        ),
        FigureDeclaration(
            name="same_data_curves",
            module="auc_generalisation",
            title="Ablating units of networks that generalise well and badly",
            caption="Accuracy against the share of units ablated in random orders, for the "
            f"networks that generalise best and worst on the same data. {_BEST_AND_WORST} Lines "
            "are means over networks, each averaged over its orders; bands are one standard "
            "deviation over networks to either side.",
            needs=("cumulative_ablation",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="hyperparameter_selection",
            module="hyperparameters",
            title="Choosing hyperparameters by robustness to ablation",
            caption="Left: test accuracy against the area under the cumulative ablation curve; "
            "each dot is a setting, averaged over its seeds. Right: how often, over all "
            "halves of the settings, the setting with the largest area is one of the best by "
            "test accuracy. Dashes: a setting picked at random.",
            needs=("cumulative_ablation",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="early_stopping",
            module="training_course",
            title="Stopping training by robustness to ablation or by test loss",
            caption="Area under the cumulative ablation curve at the kept epochs (above), train "
            "and test loss after every epoch and at the kept epochs between (middle), test "
            "accuracy at the kept epochs (below). Squares mark the kept epoch with the largest "
            "area, circles that with the least test loss. The cost of a stop is the best test "
            "accuracy of all kept epochs minus the test accuracy at the stop.",
            needs=("cumulative_ablation",),
            needs_kept=("cumulative_ablation",),
            shows_paper=True,
        ),
        FigureDeclaration(
            name="clamping",
            module="ablation_variants",
            title="What units are clamped to",
            caption="Accuracy against the share of units ablated, by the value that the units are "
            "clamped to. Means are those of the training set. The units are ablated in random "
            "orders. Lines are means over orders and networks, bands one standard deviation to "
            "either side.",
            needs=("cumulative_ablation",),
            compares="value",
        ),
        FigureDeclaration(
            name="bases",
            module="ablation_variants",
            title="Units, random directions and principal components",
            caption="Accuracy against the share of directions ablated in random orders: the units "
            "themselves, random orthonormal directions of each layer, and the principal "
            "components of each layer. Lines are means over orders and networks, bands one "
            "standard deviation to either side.",
            needs=("cumulative_ablation",),
            compares="basis",
        ),
        FigureDeclaration(
            name="measure_orders",
            module="ablation_variants",
            title="Ablating units in the order of a measure",
            caption="Accuracy against the share of units ablated in the order of a measure, from "
            "the largest value down (solid) or from the smallest value up (dashed), beside random "
            "orders. Lines are means over orders and networks, bands one standard deviation to "
            "either side.",
            needs=("cumulative_ablation",),
            compares="by",
        ),
        FigureDeclaration(
            name="class_damage",
            module="agreement",
            title="Does a unit's class suffer when the unit is ablated?",
            caption="Left: accuracy drop of a unit's preferred class when the unit alone is "
            "ablated, against the unit's class selectivity; the vertical axis is linear near "
            "zero. Right: of the units whose ablation makes the accuracy of a class drop, the "
            "share whose preferred class drops most, in each layer.",
            needs=("measures", "unit_ablation"),
        ),
        FigureDeclaration(
            name="measure_agreement",
            module="agreement",
            title="Do measures of selectivity agree?",
            caption="Rank correlation between each two measures over the units of a layer, "
            "averaged over the layers with at least ten units. Each matrix is a data set.",
            needs=("measures",),
        ),
        FigureDeclaration(
            name="information_importance",
            module="unit_correlations",
            title="Are informative units important?",
            caption="Increase of the loss when a unit alone is ablated, against its mutual "
            f"information with the class. {_NEAR_ZERO} {_UNITS_AND_LAYERS}",
            needs=("measures", "unit_ablation"),
        ),
        FigureDeclaration(
            name="regulariser",
            module="regulariser",
            title="Training for or against class selectivity",
            caption="Test accuracy, area under the cumulative ablation curve (AUC) and mean class "
            "selectivity of networks, by the strength alpha of the selectivity regulariser in "
            "training: loss = cross-entropy - alpha x mean selectivity. Lines are means over "
            "seeds, dots are networks.",
            needs=("measures", "cumulative_ablation"),
        ),
        FigureDeclaration(
            name="selectivity_over_training",
            module="selectivity_layers",
            title="Selectivity and importance over the course of training",
            caption="Mean class selectivity and mean loss increase of the units of each layer at "
            "the kept epochs, and the rank correlation of the two within the layer (at least ten "
            "units). Lines are means over networks; bands reach from the smallest to the largest "
            "value.",
            needs=("measures", "unit_ablation"),
            needs_kept=("measures", "unit_ablation"),
        ),
    )
}
