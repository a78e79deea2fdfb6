"""How far two computations of the same activations may lie apart by rounding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# Largest differences, relative to the largest value of a layer's probes, by the dtype of the
# network. Batches of 1 to 64 samples and one or two threads move float32 values of ResNet, VGG,
# MobileNet, GoogLeNet and SqueezeNet by at most 3e-6.
COMPUTED = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
PLAIN = 1e-4
GPU = 1e-2  # convolutions in TF32, which GPUs use unless told not to, move values by 2e-3
# Rounding of a stored value: relative to the value, and at the least.
STORED = {"float16": (2.0**-10, 2.0**-23), "float32": (0.0, 0.0)}
SHARE = 1e-3  # of positions whose activity may flip
FLIPS = 2  # positions whose activity may flip in any case


@dataclass(frozen=True)
class Tolerance:
    """What counts as rounding.

    Attributes
    ----------
    stored
        Dtype of the activations in the store.
    computed
        Dtype that the network computes in.
    on_gpu
        Whether one of the computations was on a GPU.
    largest_logit
        Largest magnitude of the finite logits.
    """

    stored: str
    computed: torch.dtype
    on_gpu: bool
    largest_logit: float

    @property
    def relative(self) -> float:
        """Largest difference relative to the largest value."""
        return max(COMPUTED.get(self.computed, PLAIN), GPU if self.on_gpu else 0.0)

    def find(
        self, kind: str, now: NDArray[Any], then: NDArray[Any], logits: NDArray[Any]
    ) -> tuple[int, ...] | None:
        """Return where two computations differ most, None where they differ by rounding alone.

        Parameters
        ----------
        kind
            Reduction of the values: ``mean``, ``max``, ``active``; or ``map``, ``prediction`` or
            ``loss``.
        now
            Values of the one computation, (samples, ...).
        then
            Values of the other.
        logits
            Logits of the samples of `now`, (samples, classes).
        """
        if kind == "prediction":
            return self._find_prediction(now, then, logits)
        with np.errstate(invalid="ignore"):
            difference = np.abs(now.astype(np.float64) - then.astype(np.float64))
        same = (now == then) | (np.isnan(now) & np.isnan(then))
        difference = np.where(same, 0.0, np.nan_to_num(difference, nan=np.inf))
        if kind == "active":
            differs = difference.mean() > SHARE + FLIPS / difference.size
        else:
            differs = (difference > self._bound(kind, then)).any()
        if not differs:
            return None
        return tuple(int(i) for i in np.unravel_index(difference.argmax(), difference.shape))

    def _bound(self, kind: str, then: NDArray[Any]) -> NDArray[np.float64]:
        magnitudes = as_numbers(np.abs(then))
        if kind == "loss":
            return np.full(then.shape, self.relative * max(1.0, self.largest_logit))
        rounding, least = STORED[self.stored]
        bound: NDArray[np.float64] = (
            self.relative * magnitudes.max(initial=0) + rounding * magnitudes + least
        )
        return bound

    def _find_prediction(
        self, now: NDArray[Any], then: NDArray[Any], logits: NDArray[Any]
    ) -> tuple[int, ...] | None:
        """Return the first sample whose prediction differs and is not a tie."""
        at = np.arange(len(now))
        with np.errstate(invalid="ignore"):
            margins = np.nan_to_num(logits[at, now] - logits[at, then], nan=0.0)
        clear = margins > 2 * self.relative * self.largest_logit
        other = np.flatnonzero((now != then) & clear)
        return (int(other[0]),) if other.size else None


def as_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return values as float64, with 0 in the place of each that is not finite."""
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
