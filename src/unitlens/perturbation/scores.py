"""Loss and hit of every sample, and sums over samples from which means and errors follow."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Floats = npt.NDArray[np.float64]


def score(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Score logits against labels, in float64 whatever the network's own dtype.

    Parameters
    ----------
    logits
        Shape (samples, classes).
    labels
        Shape (samples,).

    Returns
    -------
    Cross-entropy in nats, and 1 where the largest logit is the label's (the first of equal
    ones), else 0; each of shape (samples,).
    """
    losses = functional.cross_entropy(logits.double(), labels, reduction="none")
    return losses, (logits.argmax(dim=1) == labels).double()


class PairedSums:
    """Sums over samples of what each unit's ablation changes, by unit and class.

    A sample that is never added counts as unchanged.
    """

    def __init__(self, units: int, classes: int, device: torch.device) -> None:
        self._shape = (units, classes)
        self._samples = torch.zeros(classes, dtype=torch.float64, device=device)
        zeros = torch.zeros(units * classes, dtype=torch.float64, device=device)
        self._loss, self._loss_squares = zeros.clone(), zeros.clone()
        self._hits, self._hits_squares = zeros.clone(), zeros.clone()

    def count(self, labels: Tensor) -> None:
        """Count the samples of a batch."""
        self._samples += torch.bincount(labels, minlength=len(self._samples))

    def add(self, units: Tensor, labels: Tensor, loss: Tensor, hits: Tensor) -> None:
        """Add changes of loss and of hits, one for each (unit, sample)."""
        cells = units * self._shape[1] + labels
        self._loss.index_add_(0, cells, loss)
        self._loss_squares.index_add_(0, cells, loss**2)
        self._hits.index_add_(0, cells, hits)
        self._hits_squares.index_add_(0, cells, hits**2)

    def importance(self) -> dict[str, Floats]:
        """Return mean changes and their standard errors, under the names of the declared variables.

        The standard error is that of a mean of paired differences: their standard deviation (with
        n - 1) over the root of n. NaN where there are too few samples: none, or one for an error.
        """
        by_class = self._samples.cpu().numpy()
        hits, squares = self._array(self._hits), self._array(self._hits_squares)
        total = by_class.sum()
        loss, loss_error = _mean_and_error(
            self._array(self._loss).sum(1), self._array(self._loss_squares).sum(1), total
        )
        drop, drop_error = _mean_and_error(-hits.sum(1), squares.sum(1), total)
        class_drop, class_error = _mean_and_error(-hits, squares, by_class)
        return {
            "loss_increase": loss,
            "loss_increase_se": loss_error,
            "accuracy_drop": drop,
            "accuracy_drop_se": drop_error,
            "class_accuracy_drop": class_drop,
            "class_accuracy_drop_se": class_error,
        }

    def _array(self, sums: Tensor) -> Floats:
        return sums.reshape(self._shape).cpu().numpy()


def _mean_and_error(
    total: Floats, squares: Floats, samples: Floats | np.float64
) -> tuple[Floats, Floats]:
    n = np.asarray(samples, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n + 0.0  # no negative zeros
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        error = np.where(n > 1, np.sqrt(variance / n), np.nan)
    return np.where(n > 0, mean, np.nan), error
