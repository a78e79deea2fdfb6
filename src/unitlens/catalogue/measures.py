"""The measures of a unit: function, variables, labels, and where each measure is used.

The recipe "Add a measure" in CONTRIBUTING.md says what else a new measure needs: its function.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from unitlens.variables.variable import TEXT, UNIT, Variable


@dataclass(frozen=True)
class Measure:
    """The declaration of one measure of a unit.

    Attributes
    ----------
    name
        Name of the function, which takes a table of class statistics and returns a Dataset on
        ``unit`` with just the `variables`.
    module
        Module of :mod:`unitlens.statistics.measures` that defines the function; empty for a
        measure that is not computed from class statistics.
    variables
        Declarations of the variables, in the order in which a table holds them.
    labels
        Names of the variables that score a unit, each with a short label for figures and pages.
        The other variables go with a score: its error bound, its class, the reason for a NaN.
    settings
        Keys of the configuration's section ``measures`` that the function takes as arguments.
    of_classes
        Whether the measure needs the classes of the samples: it is left out where there are none.
    of_training
        Whether the measure is computed over the training set, whichever split the section
        ``measures`` names.
    agreement
        Whether the scores are compared with those of other measures (figure
        ``measure_agreement``).
    importance
        Whether the importance of units is correlated with the scores (table ``correlations``).
    orders
        Whether units can be ablated in the order of the scores (key ``cumulative_ablation.by``).
    """

    name: str
    module: str
    variables: tuple[Variable, ...]
    labels: Mapping[str, str]
    settings: tuple[str, ...] = ()
    of_classes: bool = False
    of_training: bool = False
    agreement: bool = False
    importance: bool = False
    orders: bool = False


MEASURES = (
    Measure(
        "class_selectivity",
        "class_selectivity",
        (
            Variable("selectivity", UNIT, "f", "1", "class selectivity", "(mu_max - mu_rest) / (mu_max + mu_rest) of the class-conditional mean activations"),
            Variable("preferred_class", UNIT, "i", "", "preferred class", "class with the largest mean activation, -1 where undefined"),
            Variable("dead", UNIT, "b", "", "dead", "the activation is zero on every sample"),
            Variable("undefined", UNIT, TEXT, "", "reason for NaN", "why the selectivity is undefined; empty where it is defined"),
        ),
        labels={"selectivity": "class selectivity"},
        settings=("rest",),
        of_classes=True,
        agreement=True,
        importance=True,
        orders=True,
    ),
    Measure(
        "ccmas",
        "class_selectivity",
        (
            Variable("ccmas", UNIT, "f", "1", "CCMAS", "class-conditional mean activity selectivity, (mu_A - mu_not_A) / (mu_A + mu_not_A): A has the largest mean, the others are pooled by sample"),
        ),
        labels={"ccmas": "CCMAS"},
        of_classes=True,
        agreement=True,
    ),
    Measure(
        "class_correlation",
        "class_correlation",
        (
            Variable("class_correlation", UNIT, "f", "1", "class correlation", "correlation of the activation and whether the sample is of a class: the largest over the classes"),
            Variable("correlated_class", UNIT, "i", "", "correlated class", "class with the largest correlation, -1 where there is none"),
        ),
        labels={"class_correlation": "class correlation"},
        of_classes=True,
        agreement=True,
    ),
    Measure(
        "roc_auc",
        "detection",
        (
            Variable("roc_auc", UNIT, "f", "1", "ROC AUC", "chance that the activation is larger for a sample of a class than for one of the others, ties a half: the largest over the classes"),
            Variable("roc_auc_bound", UNIT, "f", "1", "bound on the error of the ROC AUC", "by how much binning may have changed the ROC AUC at most"),
            Variable("roc_auc_class", UNIT, "i", "", "class of the ROC AUC", "class with the largest ROC AUC, -1 where there is none"),
        ),
        labels={"roc_auc": "ROC AUC"},
        of_classes=True,
        agreement=True,
    ),
    Measure(
        "informedness",
        "detection",
        (
            Variable("informedness", UNIT, "f", "1", "maximum informedness", "share of a class's samples above a threshold minus that of the others: the largest over thresholds and classes"),
            Variable("informedness_bound", UNIT, "f", "1", "bound on the error of the informedness", "by how much thresholds inside bins may raise the maximum informedness at most"),
            Variable("informedness_class", UNIT, "i", "", "class of the informedness", "class with the largest informedness, -1 where there is none"),
        ),
        labels={"informedness": "informedness"},
        of_classes=True,
        agreement=True,
    ),
    Measure(
        "average_precision",
        "detection",
        (
            Variable("average_precision", UNIT, "f", "1", "average precision", "mean, over the samples of a class, of the class's share among the samples of no smaller activation: the largest over the classes"),
            Variable("average_precision_bound", UNIT, "f", "1", "bound on the error of the average precision", "by how much binning may have changed the average precision at most"),
            Variable("average_precision_class", UNIT, "i", "", "class of the average precision", "class with the largest average precision, -1 where there is none"),
        ),
        labels={"average_precision": "average precision"},
        of_classes=True,
        agreement=True,
    ),
    Measure(
        "top_precision",
        "top_precision",
        (
            Variable("precision_60", UNIT, "f", "1", "precision of the top 60", "share of the 60 samples of largest activation that are of the most frequent class among them"),
            Variable("precision_100", UNIT, "f", "1", "precision of the top 100", "share of the 100 samples of largest activation that are of the most frequent class among them"),
        ),
        labels={
            "precision_60": "precision of the top 60",
            "precision_100": "precision of the top 100",
        },
        of_classes=True,
        agreement=True,
    ),
    Measure(
        "mutual_information",
        "information",
        (
            Variable("mutual_information", UNIT, "f", "nats", "mutual information", "mutual information of the binned activation and the class, corrected by the jackknife"),
            Variable("mutual_information_se", UNIT, "f", "nats", "error of the mutual information", "root mean square error as estimated: of samples drawn independently, with the bias that the correction leaves and what the bins lose"),
            Variable("mutual_information_bound", UNIT, "f", "nats", "bound on the error of the mutual information", "by how much the mutual information of equally filled bins may differ at most, whatever the order of the samples within the bins of the histogram"),
        ),
        labels={"mutual_information": "mutual information"},
        settings=("bins",),
        of_classes=True,
        agreement=True,
        importance=True,
        orders=True,
    ),
    Measure(
        "sparsity",
        "sparsity",
        (
            Variable("sparsity", UNIT, "f", "1", "sparsity", "1 - <a>^2 / <a^2> over the samples: 0 for a unit that is always as active, near 1 for one that is rarely active"),
            Variable("zero_share", UNIT, "f", "1", "share of zeros", "share of the samples on which the activation is zero"),
        ),
        labels={"sparsity": "sparsity"},
        agreement=True,
    ),
    Measure(
        "empirical_variance",
        "variance",
        (
            Variable("variance", UNIT, "f", "activation^2", "empirical variance", "population variance of the activation over the samples"),
        ),
        labels={"variance": "empirical variance"},
        of_training=True,
        orders=True,
    ),
    Measure(
        "empirical_mean",
        "variance",
        (
            Variable("mean", UNIT, "f", "activation", "mean activation", "mean activation over the samples"),
        ),
        labels={"mean": "mean activation"},
        of_training=True,
        orders=True,
    ),
    Measure(
        "l1_norm",
        "",  # of the weights: unitlens.model.weights computes it from a network
        (
            Variable("l1_norm", UNIT, "f", "1", "L1 norm", "sum of the absolute incoming weights of the unit, NaN where the layer has none of its own"),
        ),
        labels={"l1_norm": "L1 norm"},
        importance=True,
        orders=True,
    ),
)  # fmt: skip
"""All measures, in the order in which tables, figures and pages name them."""

LABELS = {score: label for measure in MEASURES for score, label in measure.labels.items()}
AGREEMENT_SCORES = tuple(score for m in MEASURES if m.agreement for score in m.labels)
IMPORTANCE_SCORES = tuple(score for m in MEASURES if m.importance for score in m.labels)
ORDER_SCORES = tuple(score for m in MEASURES if m.orders for score in m.labels)
