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


def naive_changes(change, logits_of, labels, losses, hits, classes, top):
    """Sum over samples what each perturbation changes; `logits_of` takes (sample, k)."""
    sums = np.zeros((4, change.shape[1], classes))
    for s, k in zip(*np.nonzero(change != 0), strict=True):
        loss, hit = naive_score(logits_of(s, k), labels[s], top)
        loss, hit = loss - losses[s], hit - hits[s]
        sums[:, k, labels[s]] += [loss, loss * loss, hit, hit * hit]
    return sums


def naive_output(change, columns, logits, labels, losses, hits, top):
    """Do what `score_output_layer` does."""
    change, columns, logits = (a.astype(np.float64) for a in (change, columns, logits))

    def logits_of(s, k):
        return logits[s] - change[s, k] * columns[k]

    return naive_changes(change, logits_of, labels, losses, hits, logits.shape[1], top)


def naive_hidden(change, columns, hidden, weight, bias, labels, losses, hits, top):
    """Do what `score_hidden_layer` does."""
    arrays = (change, columns, hidden, weight, bias)
    change, columns, hidden, weight, bias = (a.astype(np.float64) for a in arrays)

    def logits_of(s, k):
        outputs = hidden[s] - change[s, k] * columns[k]
        with np.errstate(invalid="ignore"):
            return bias + weight @ np.where(outputs < 0, 0, outputs)

    return naive_changes(change, logits_of, labels, losses, hits, len(bias), top)
