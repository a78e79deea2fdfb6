"""What the activations of units say: moments, histograms, measures, and directions of a layer."""

from unitlens.statistics.class_means import class_means
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.components import principal_components
from unitlens.statistics.directions import random_directions
from unitlens.statistics.information import mutual_information
from unitlens.statistics.measures import unit_measures
from unitlens.statistics.selectivity import class_selectivity
from unitlens.statistics.variance import empirical_mean, empirical_variance

__all__ = [
    "class_means",
    "class_selectivity",
    "class_statistics",
    "empirical_mean",
    "empirical_variance",
    "mutual_information",
    "principal_components",
    "random_directions",
    "unit_measures",
]
