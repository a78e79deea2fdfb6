"""Declarations of what the statistics say of a unit, a direction or a layer."""

from unitlens.variables.declaration import TEXT, UNIT, Variable, declare

_LAYER = ("layer",)

VARIABLES = declare(
    # measures of a unit
    Variable("selectivity", UNIT, "f", "1", "class selectivity", "(mu_max - mu_rest) / (mu_max + mu_rest) of the class-conditional mean activations"),
    Variable("preferred_class", UNIT, "i", "", "preferred class", "class with the largest mean activation, -1 where undefined"),
    Variable("dead", UNIT, "b", "", "dead", "the activation is zero on every sample"),
    Variable("undefined", UNIT, TEXT, "", "reason for NaN", "why the selectivity is undefined; empty where it is defined"),
    Variable("mutual_information", UNIT, "f", "nats", "mutual information", "mutual information of the binned activation and the class, corrected by the jackknife"),
    Variable("mutual_information_se", UNIT, "f", "nats", "standard error of the mutual information", "of samples drawn independently, by the delta method; that binning loses information is not part of it"),
    Variable("ccmas", UNIT, "f", "1", "CCMAS", "class-conditional mean activity selectivity, (mu_A - mu_not_A) / (mu_A + mu_not_A): A has the largest mean, the others are pooled by sample"),
    Variable("roc_auc", UNIT, "f", "1", "ROC AUC", "chance that the activation is larger for a sample of a class than for one of the others, ties a half: the largest over the classes"),
    Variable("roc_auc_bound", UNIT, "f", "1", "bound on the error of the ROC AUC", "by how much binning may have changed the ROC AUC at most"),
    Variable("roc_auc_class", UNIT, "i", "", "class of the ROC AUC", "class with the largest ROC AUC, -1 where there is none"),
    Variable("informedness", UNIT, "f", "1", "maximum informedness", "share of a class's samples above a threshold minus that of the others: the largest over thresholds and classes"),
    Variable("informedness_bound", UNIT, "f", "1", "bound on the error of the informedness", "by how much thresholds inside bins may raise the maximum informedness at most"),
    Variable("informedness_class", UNIT, "i", "", "class of the informedness", "class with the largest informedness, -1 where there is none"),
    Variable("average_precision", UNIT, "f", "1", "average precision", "mean, over the samples of a class, of the class's share among the samples of no smaller activation: the largest over the classes"),
    Variable("average_precision_bound", UNIT, "f", "1", "bound on the error of the average precision", "by how much binning may have changed the average precision at most"),
    Variable("average_precision_class", UNIT, "i", "", "class of the average precision", "class with the largest average precision, -1 where there is none"),
    Variable("precision_60", UNIT, "f", "1", "precision of the top 60", "share of the 60 samples of largest activation that are of the most frequent class among them"),
    Variable("precision_100", UNIT, "f", "1", "precision of the top 100", "share of the 100 samples of largest activation that are of the most frequent class among them"),
    Variable("class_correlation", UNIT, "f", "1", "class correlation", "correlation of the activation and whether the sample is of a class: the largest over the classes"),
    Variable("correlated_class", UNIT, "i", "", "correlated class", "class with the largest correlation, -1 where there is none"),
    Variable("sparsity", UNIT, "f", "1", "sparsity", "1 - <a>^2 / <a^2> over the samples: 0 for a unit that is always as active, near 1 for one that is rarely active"),
    Variable("zero_share", UNIT, "f", "1", "share of zeros", "share of the samples on which the activation is zero"),
    Variable("variance", UNIT, "f", "activation^2", "empirical variance", "population variance of the activation over the samples"),
    Variable("mean", UNIT, "f", "activation", "mean activation", "mean activation over the samples"),
    Variable("l1_norm", UNIT, "f", "1", "L1 norm", "sum of the absolute incoming weights of the unit, NaN where the layer has none of its own"),
    # directions
    Variable("component", ("direction", "unit"), "f", "1", "component", "component of a direction along a unit; the directions of a table are orthonormal"),
    Variable("explained_variance", ("direction",), "f", "activation^2", "explained variance", "population variance over the samples of the activations projected on a direction"),
    Variable("explained_variance_ratio", ("direction",), "f", "1", "explained variance ratio", "explained variance as a share of the sum of the variances of all units; NaN where that is zero"),
    # layers
    Variable("participation_ratio", _LAYER, "f", "dimensions", "participation ratio", "(sum of the variances of the principal components)^2 / sum of their squares"),
    Variable("components_95", _LAYER, "i", "components", "components for 95 % of the variance", "least number of principal components that hold .95 of the layer's variance, -1 where there is none"),
)  # fmt: skip
