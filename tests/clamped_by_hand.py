"""The replacement of activations by each value, by loops over the samples of a reference."""

import torch

from networks_by_hand import naive_logits
from unitlens.seeds import seeded

KINDS = ["zero", "mean", "position_mean", "class_mean", "resample"]


def activations_of(model, inputs, places):
    """Return the activation of each place, (samples, units, ...)."""
    kept = {}
    for place in places:
        naive_logits(model, inputs.clone(), {place: lambda a, p=place: kept.setdefault(p, a)})
    return kept


def naive_partner(index, samples, seed, *, own):
    """Return the documented partner of a sample, by its place in the seeded permutation."""
    order = seeded(seed, "partners").permutation(samples).tolist()
    place = order.index(index) + 1 if own else index
    return order[place % samples]


def naive_values(kind, model, pairs, reference, places, seed=0):
    """Return the replacement of the activation of each place, (samples, units, ...)."""
    scored = activations_of(model, pairs.inputs, places)
    seen = activations_of(model, reference.inputs, places)
    values = {}
    for place in places:
        clamped = torch.zeros_like(scored[place])
        for sample, label in enumerate(pairs.labels.tolist()):
            if kind == "resample":
                own = reference is pairs
                samples = [naive_partner(sample, len(reference), seed, own=own)]
            elif kind == "class_mean":
                samples = [i for i, other in enumerate(reference.labels.tolist()) if other == label]
            else:
                samples = range(len(reference) if kind != "zero" else 0)
            for other in samples:
                one = seen[place][other]
                if kind in ("mean", "class_mean"):
                    one = torch.stack([unit.mean().expand(unit.shape) for unit in one])
                clamped[sample] += one / len(samples)
        values[place] = clamped
    return values
