"""Measures of a unit from its raw activations, by plain loops, for tests of the binned ones."""

from collections import Counter

import numpy as np


def roc_auc_by_pairs(values, own):
    """Share of pairs in which a sample of the class has the larger activation, ties a half."""
    pairs = [(x > y) + (x == y) / 2 for x in values[own] for y in values[~own]]
    return sum(pairs) / len(pairs)


def informedness_by_thresholds(values, own):
    """Largest difference of the shares at or above a threshold, over all that differ."""
    thresholds = [*sorted(set(values.tolist())), np.inf]
    return max((values[own] >= t).mean() - (values[~own] >= t).mean() for t in thresholds)


def average_precision_by_samples(values, own):
    """Mean over the class's samples of its share among those that are at least as active."""
    return np.mean([own[values >= x].mean() for x in values[own]])


def best_over_classes(score, values, labels):
    return max(score(values, labels == label) for label in np.unique(labels))


def precision_by_counter(values, labels, top):
    """Share of the most frequent label among the `top` samples; of equal ones the first count."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))[:top]
    return Counter(labels[order].tolist()).most_common(1)[0][1] / top
