"""What the activations of units say: moments, histograms, measures, and directions of a layer."""

from unitlens.statistics.class_means import class_means
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.components import principal_components
from unitlens.statistics.correlation import class_correlation
from unitlens.statistics.detection import average_precision, informedness, roc_auc
from unitlens.statistics.dimensionality import layer_dimensionality
from unitlens.statistics.directions import random_directions
from unitlens.statistics.information import mutual_information
from unitlens.statistics.measures import unit_measures
from unitlens.statistics.selectivity import ccmas, class_selectivity
from unitlens.statistics.sparsity import sparsity
from unitlens.statistics.strongest import top_precision
from unitlens.statistics.variance import empirical_mean, empirical_variance

__all__ = [
    "average_precision",
    "ccmas",
    "class_correlation",
    "class_means",
    "class_selectivity",
    "class_statistics",
    "empirical_mean",
    "empirical_variance",
    "informedness",
    "layer_dimensionality",
    "mutual_information",
    "principal_components",
    "random_directions",
    "roc_auc",
    "sparsity",
    "top_precision",
    "unit_measures",
]
