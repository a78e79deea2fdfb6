"""Histograms by a plain loop over the activations, for tests of the compiled ones."""

import numpy as np


def naive_histogram(values, labels, classes, edges):
    """Count by the documented edge convention, one value after the other."""
    counts = np.zeros((values.shape[1], len(classes), edges.shape[1] - 1), int)
    for u in range(values.shape[1]):
        zero = min((edges[u] < 0).sum(), edges.shape[1] - 2)
        for x, label in zip(values[:, u].astype(np.float64), labels, strict=True):
            if x == 0:
                at = zero
            elif x > 0:
                inside = (edges[u, zero + 1 : -1] < x) & (x <= edges[u, zero + 2 :])
                at = zero + 1 + (int(np.argmax(inside)) if inside.any() else 0)
            else:
                inside = (edges[u, :zero] <= x) & (x < edges[u, 1 : zero + 1])
                at = int(np.argmax(inside)) if inside.any() else zero - 1
            counts[u, list(classes).index(label), at] += 1
    return counts
