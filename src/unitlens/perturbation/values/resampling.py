"""Other samples of a reference, whose activations stand in for those of the scored samples.

Resample ablation: Chan, Garriga-Alonso, Goldowsky-Dill, Greenblatt, Nitishinskaya, Radhakrishnan,
Shlegeris & Thomas 2022, "Causal scrubbing: a method for rigorously testing interpretability
hypotheses", AI Alignment Forum.
"""

import math

import numpy as np
from torch import Tensor

from unitlens.errors import ArgumentError
from unitlens.networks.batches import Indices, MapStyle
from unitlens.networks.seeds import seeded
from unitlens.perturbation.session import Session


def partners(indices: Indices, samples: int, seed: int, *, own: bool) -> Indices:
    """Return which sample of the reference stands in for each scored sample.

    Parameters
    ----------
    indices
        Places of the scored samples in their data set.
    samples
        Samples of the reference.
    seed
        Of the permutation of the reference.
    own
        Whether the reference is the data set that is scored. Then each sample has the one that
        follows it in the permutation, and the last one the first: never itself, and over all
        samples everyone is somebody's partner once. Else sample `i` has the one at place `i`,
        counted from the start again behind the end.

    Raises
    ------
    ArgumentError
        Where there is no other sample.

    Examples
    --------
    >>> partners(np.arange(5), 5, 0, own=True).tolist()
    [3, 0, 4, 2, 1]
    """
    order = seeded(seed, "partners").permutation(samples)
    if not own:
        return order[indices % samples]
    if samples < 2:
        raise ArgumentError(
            "the data set has one sample, but value 'resample' needs another one; give a reference"
        )
    follower = np.empty_like(order)
    follower[order] = np.roll(order, -1)
    return follower[indices]


def partner_activations(
    session: Session, reference: MapStyle, chosen: Indices
) -> dict[str, Tensor]:
    """Return the activations of the `chosen` samples of a reference by layer, (samples, ...)."""
    inputs = session.inputs_at(reference, chosen)
    _, kept = session.network.capture(inputs, session.layers, lambda _, activation: activation)
    return kept


def activation_bytes(session: Session) -> int:
    """Return the bytes that the activations of the session's layers take for each sample."""
    numbers = sum(math.prod(layer.shape) for layer in session.layers)
    return numbers * session.network.dtype.itemsize
