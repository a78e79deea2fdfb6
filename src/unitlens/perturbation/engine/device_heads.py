"""Sums of the effects of perturbations behind which a small dense head remains, on a GPU.

All samples run under some perturbations at a time, as products of matrices. Samples are not chosen
by whether a perturbation changes them, so nothing waits for their number.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unitlens.perturbation.engine.repeatable_sums import add_at
from unitlens.perturbation.engine.sample_scores import SampleScores


def score_dense_head(
    coefficients: Tensor,
    columns: Tensor,
    output: Tensor,
    last: nn.Linear | None,
    scores: SampleScores,
) -> Tensor:
    """Score perturbations of a layer that one dense operation reads.

    The output of the operation for sample `s` under perturbation `k` is
    ``output[s] - coefficients[k, s] * columns[k]``.

    Parameters
    ----------
    coefficients
        Coefficient with which each of K perturbations subtracts its direction, (K, samples). A
        pair whose coefficient is 0 changes nothing.
    columns
        Change of the operation's output per unit of each direction, (K, out).
    output
        Output of the operation in the unperturbed network, (samples, out).
    last
        The operation that follows a ReLU and returns the logits; None where the output is the
        logits.
    scores
        Labels and scores of the samples.

    Returns
    -------
    Sums over samples of the changes of loss, of their squares, of the changes of hits, and of their
    squares, float64 (4, K, classes).
    """
    rows = torch.addcmul(output, coefficients.unsqueeze(2), columns.unsqueeze(1), value=-1)
    rows = rows.flatten(0, 1)
    logits = rows if last is None else functional.linear(rows.relu_(), last.weight, last.bias)
    losses, hits = scores.of_rows(logits, scores.labels.repeat(len(coefficients)))
    changed = coefficients != 0
    changes = [
        torch.where(changed, after.view(changed.shape) - before, 0.0)
        for after, before in ((losses, scores.losses), (hits, scores.hits))
    ]
    shape = 4, len(coefficients), logits.shape[1]
    sums = torch.zeros(shape, dtype=torch.float64, device=output.device)
    loss, hit = changes
    for by_class, terms in zip(sums, (loss, loss.square(), hit, hit.square()), strict=True):
        add_at(by_class, 1, scores.labels, terms)
    return sums
