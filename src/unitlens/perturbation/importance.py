"""Importance: sums of changes over samples, their means and standard errors, and the table."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional

from unitlens.perturbation.engine.effects import Scored, SummedEffect
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import (
    Baseline,
    Batch,
    Session,
)

Ints = npt.NDArray[np.int64]


class PairedSums:
    """Sums over samples of what each unit's ablation changes, by unit and class.

    A sample that is never added counts as unchanged.

    Attributes
    ----------
    classes
        Number of classes; it grows where a sample of a further class is counted.
    """

    def __init__(self, units: int, classes: int, device: torch.device) -> None:
        self.classes = classes
        self._samples = torch.zeros(classes, dtype=torch.float64, device=device)
        # loss, its square, hits, and their square
        self._sums = torch.zeros((4, units, classes), dtype=torch.float64, device=device)

    def count(self, classes: Tensor) -> None:
        """Count the samples of a batch, by the class of each; to be done before they are added."""
        counts = torch.bincount(classes, minlength=self.classes)
        if len(counts) > self.classes:
            more = (0, len(counts) - self.classes)
            self._samples = functional.pad(self._samples, more)
            self._sums = functional.pad(self._sums, more)
            self.classes = len(counts)
        self._samples += counts

    def add(self, units: Tensor, classes: Tensor, loss: Tensor, hits: Tensor) -> None:
        """Add changes of loss and of hits, one for each (unit, sample)."""
        cells = units * self.classes + classes
        for sums, changes in zip(self._sums, (loss, loss**2, hits, hits**2), strict=True):
            sums.view(-1).index_add_(0, cells, changes)

    def add_sums(
        self, rows: Tensor, loss: Tensor, loss_squares: Tensor, hits: Tensor, hits_squares: Tensor
    ) -> None:
        """Add sums over samples of the changes and of their squares.

        Parameters
        ----------
        rows
            Numbers of the units, shape (rows,).
        loss, loss_squares, hits, hits_squares
            Float64 sums by class, each of shape (rows, classes).
        """
        given = (loss, loss_squares, hits, hits_squares)
        for sums, more in zip(self._sums, given, strict=True):
            sums.index_add_(0, rows, more)

    def importance(self, *, by_class: bool = True) -> dict[str, Floats]:
        """Return mean changes and their standard errors, under the names of the declared variables.

        The standard error is that of a mean of paired differences: their standard deviation (with
        n - 1) over the root of n. NaN where there are too few samples: none, or one for an error.
        """
        samples = self._samples.cpu().numpy()
        loss, loss_squares, hits, hits_squares = self._sums.cpu().numpy()
        total = samples.sum()
        found = _named("loss_increase", loss.sum(1), loss_squares.sum(1), total)
        found |= _named("accuracy_drop", -hits.sum(1), hits_squares.sum(1), total)
        if by_class:
            found |= _named("class_loss_increase", loss, loss_squares, samples)
            found |= _named("class_accuracy_drop", -hits, hits_squares, samples)
            found |= _worst(found["class_accuracy_drop"], found["class_accuracy_drop_se"])
        return found


def _named(
    name: str, total: Floats, squares: Floats, samples: Floats | np.float64
) -> dict[str, Floats]:
    mean, error = mean_and_error(total, squares, samples)
    return {name: mean, f"{name}_se": error}


def mean_and_error(
    total: Floats, squares: Floats, samples: Floats | np.float64
) -> tuple[Floats, Floats]:
    """Return mean and standard error of numbers, from their sum, sum of squares and count."""
    n = np.asarray(samples, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n + 0.0  # no negative zeros
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        error = np.where(n > 1, np.sqrt(variance / n), np.nan)
    return np.where(n > 0, mean, np.nan), error


def _worst(drops: Floats, errors: Floats) -> dict[str, Floats]:
    """Return the class that each unit matters to most (Zhou et al. 2018, 1806.02891)."""
    known = np.isfinite(drops).any(1)
    place = np.where(np.isfinite(drops), drops, -np.inf).argmax(1)
    units = np.arange(len(drops))
    return {
        "class_accuracy_drop_max": np.where(known, drops[units, place], np.nan),
        "class_accuracy_drop_max_se": np.where(known, errors[units, place], np.nan),
        "most_damaged_class": np.where(known, place, -1),
    }


def add_changes(
    session: Session,
    batch: Batch,
    perturbed: Sequence[Directions],
    baseline: Baseline,
    sums: PairedSums,
) -> None:
    """Add what each direction of `perturbed` alone changes on a batch, and the batch's baseline."""
    base = session.engine.base_pass(batch.inputs)
    losses, hits = baseline.add(session, batch, base.logits)
    sums.count(batch.classes)
    top = session.score.top
    scored = None if top is None else Scored(batch.classes, losses, hits, top)
    for effect in session.engine.each_alone(base, perturbed, scored):
        if isinstance(effect, SummedEffect):
            sums.add_sums(effect.table_rows, *map(torch.from_numpy, effect.sums))
            continue
        loss, hit = session.score(effect.logits, batch.targets[effect.samples])
        changes = loss - losses[effect.samples], hit - hits[effect.samples]
        sums.add(effect.table_rows, batch.classes[effect.samples], *changes)


def importance_table(
    session: Session,
    found: dict[str, Floats],
    dim: str,
    coordinates: xr.Dataset,
    schema: str,
    **beside: Ints,
) -> xr.Dataset:
    """Return the table of what is ablated alone: units, directions or groups, along `dim`.

    Parameters
    ----------
    session
        The session.
    found
        What :meth:`~unitlens.perturbation.importance.PairedSums.importance` says.
    dim
        The dimension.
    coordinates
        Its coordinates.
    schema
        Name of the table's schema.
    beside
        Further variables on `dim`.
    """
    arrays = found | beside
    table = coordinates.assign(
        {name: ((dim, "class")[: array.ndim], array) for name, array in arrays.items()}
    )
    if "class" in table.dims:
        table = table.assign_coords({"class": np.arange(table.sizes["class"])})
    return session.annotated(table, schema)
