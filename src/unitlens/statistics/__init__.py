"""What the activations of every unit say about the classes: moments, histograms, measures."""

from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.information import mutual_information
from unitlens.statistics.measures import unit_measures
from unitlens.statistics.selectivity import class_selectivity
from unitlens.statistics.variance import empirical_mean, empirical_variance

__all__ = [
    "class_selectivity",
    "class_statistics",
    "empirical_mean",
    "empirical_variance",
    "mutual_information",
    "unit_measures",
]
