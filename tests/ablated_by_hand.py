"""The sums that the fused kernels return, by one loop over pairs in float64."""

import numpy as np


def naive_score(logits, label, top):
    """Score one row of logits: loss in nats and hit."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        largest = logits.max()
        loss = largest + np.log(np.exp(logits - largest).sum()) - logits[label]
    nan = np.isnan(logits)
    order = np.lexsort((np.arange(len(logits)), np.where(nan, 0, -logits), ~nan))
    return loss, float(label in order[:top])


def naive_changes(coefficients, logits_of, labels, losses, hits, classes, top):
    """Sum the changes of each perturbation over samples; `logits_of` takes (sample, k)."""
    sums = np.zeros((4, coefficients.shape[1], classes))
    for s, k in zip(*np.nonzero(coefficients != 0), strict=True):
        loss, hit = naive_score(logits_of(s, k), labels[s], top)
        loss, hit = loss - losses[s], hit - hits[s]
        sums[:, k, labels[s]] += [loss, loss * loss, hit, hit * hit]
    return sums


def naive_output(coefficients, columns, logits, labels, losses, hits, top):
    """Compute the sums of `score_output_layer` by loops."""
    coefficients, columns, logits = (a.astype(np.float64) for a in (coefficients, columns, logits))

    def logits_of(s, k):
        return logits[s] - coefficients[s, k] * columns[k]

    return naive_changes(coefficients, logits_of, labels, losses, hits, logits.shape[1], top)


def naive_hidden(coefficients, columns, hidden, weight, bias, labels, losses, hits, top):
    """Compute the sums of `score_hidden_layer` by loops."""
    arrays = (coefficients, columns, hidden, weight, bias)
    coefficients, columns, hidden, weight, bias = (a.astype(np.float64) for a in arrays)

    def logits_of(s, k):
        outputs = hidden[s] - coefficients[s, k] * columns[k]
        with np.errstate(invalid="ignore"):
            return bias + weight @ np.where(outputs < 0, 0, outputs)

    return naive_changes(coefficients, logits_of, labels, losses, hits, len(bias), top)
