"""Importance: changes of loss and hits by ablations alone, their means and standard errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional

from unitlens.perturbation.engine.effects import SampleScores, SummedEffect
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.mean_scores import Baseline
from unitlens.perturbation.saved_sums import summed_batches
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session

Ints = npt.NDArray[np.int64]


class PairedSums:
    """Sums over samples of the changes of loss and hits, by row of a table and by class.

    A row is a unit, direction or group that is ablated alone. A change is the score of a sample
    under the ablation minus its score without. Samples that are never added count as unchanged.

    Parameters
    ----------
    rows
        Number of rows.
    classes
        Number of classes.
    device
        Device of the sums.

    Attributes
    ----------
    classes
        Number of classes. The number grows where a sample of a further class is counted.
    """

    summed: ClassVar[tuple[str, ...]] = ("classes", "_samples", "_sums")

    def __init__(self, rows: int, classes: int, device: torch.device) -> None:
        self.classes = classes
        self._samples = torch.zeros(classes, dtype=torch.float64, device=device)
        # Of the loss, the squared loss, the hits and the squared hits.
        self._sums = torch.zeros((4, rows, classes), dtype=torch.float64, device=device)

    def count(self, classes: Tensor) -> None:
        """Count the samples of a batch by class, before changes on the batch are added.

        Parameters
        ----------
        classes
            Class of each sample, (samples,).
        """
        counts = torch.bincount(classes, minlength=self.classes)
        if len(counts) > self.classes:
            padding = (0, len(counts) - self.classes)
            self._samples = functional.pad(self._samples, padding)
            self._sums = functional.pad(self._sums, padding)
            self.classes = len(counts)
        self._samples += counts

    def add(self, rows: Tensor, classes: Tensor, loss: Tensor, hits: Tensor) -> None:
        """Add changes, one for each pair of a row and a sample.

        Parameters
        ----------
        rows, classes
            Row and class of each pair, (pairs,).
        loss, hits
            Changes of loss and hit of each pair, float64 (pairs,).
        """
        cells = rows * self.classes + classes
        for sums, changes in zip(self._sums, (loss, loss**2, hits, hits**2), strict=True):
            sums.view(-1).index_add_(0, cells, changes)

    def add_sums(
        self, rows: Tensor, loss: Tensor, loss_squares: Tensor, hits: Tensor, hits_squares: Tensor
    ) -> None:
        """Add sums over samples of the changes and of their squares.

        Parameters
        ----------
        rows
            Rows of the table, (rows,).
        loss, loss_squares, hits, hits_squares
            Sums by class, each float64 (rows, classes).
        """
        added = (loss, loss_squares, hits, hits_squares)
        for sums, addend in zip(self._sums, added, strict=True):
            sums.index_add_(0, rows, addend)

    def importance(self, *, by_class: bool = True) -> dict[str, Floats]:
        """Return mean changes and their standard errors by the name of the declared variable.

        The standard error is that of a mean of paired differences: their standard deviation (with
        n - 1) over the root of n. A mean over no sample is NaN, an error of fewer than two too.

        Parameters
        ----------
        by_class
            Whether to include the importance by class.
        """
        samples = self._samples.cpu().numpy()
        loss, loss_squares, hits, hits_squares = self._sums.cpu().numpy()
        total = samples.sum()
        variables = _named("loss_increase", loss.sum(1), loss_squares.sum(1), total)
        variables |= _named("accuracy_drop", -hits.sum(1), hits_squares.sum(1), total)
        if by_class:
            variables |= _named("class_loss_increase", loss, loss_squares, samples)
            variables |= _named("class_accuracy_drop", -hits, hits_squares, samples)
            drops, errors = (variables[f"class_accuracy_drop{suffix}"] for suffix in ("", "_se"))
            variables |= _most_damaged(drops, errors)
        return variables


def _named(
    name: str, total: Floats, squares: Floats, samples: Floats | np.float64
) -> dict[str, Floats]:
    mean, error = mean_and_error(total, squares, samples)
    return {name: mean, f"{name}_se": error}


def mean_and_error(
    total: Floats, squares: Floats, samples: Floats | np.float64
) -> tuple[Floats, Floats]:
    """Return means and their standard errors from sums over samples.

    Parameters
    ----------
    total, squares
        Sums of numbers and of their squares, of one shape.
    samples
        Number of samples of each sum, of a shape that broadcasts.

    Examples
    --------
    >>> mean, error = mean_and_error(np.array([6.0]), np.array([20.0]), np.float64(2))  # 2 and 4
    >>> mean.item(), error.item()
    (3.0, 1.0)
    """
    n = np.asarray(samples, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n + 0.0  # no negative zeros
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        error = np.where(n > 1, np.sqrt(variance / n), np.nan)
    return np.where(n > 0, mean, np.nan), error


def _most_damaged(drops: Floats, errors: Floats) -> dict[str, Floats]:
    """Return the largest accuracy drop of a class, by row (Zhou et al. 2018, arXiv 1806.02891).

    Parameters
    ----------
    drops, errors
        Accuracy drops and their standard errors, (rows, classes); NaN for a class without samples.
    """
    has_samples = np.isfinite(drops).any(1)
    largest = np.where(np.isfinite(drops), drops, -np.inf).argmax(1)
    rows = np.arange(len(drops))
    return {
        "class_accuracy_drop_max": np.where(has_samples, drops[rows, largest], np.nan),
        "class_accuracy_drop_max_se": np.where(has_samples, errors[rows, largest], np.nan),
        "most_damaged_class": np.where(has_samples, largest, -1),
    }


def add_changes(
    session: Session,
    batch: Batch,
    perturbed: Sequence[Directions],
    baseline: Baseline,
    sums: PairedSums,
) -> None:
    """Ablate each direction alone on a batch, and add the changes and the baseline's scores.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    perturbed
        The directions, one entry per layer.
    baseline, sums
        The baseline and the sums, which are added to.
    """
    base = session.engine.base_pass(batch.inputs)
    losses, hits = baseline.add(session, batch, base.logits)
    sums.count(batch.classes)
    top = session.score.top
    scores = None if top is None else SampleScores(batch.classes, losses, hits, top)
    for effect in session.engine.each_alone(base, perturbed, scores):
        if isinstance(effect, SummedEffect):
            sums.add_sums(effect.table_rows, *map(torch.from_numpy, effect.sums))
            continue
        loss, hit = session.score.of_rows(effect.logits, batch.targets[effect.samples])
        changes = loss - losses[effect.samples], hit - hits[effect.samples]
        sums.add(effect.table_rows, batch.classes[effect.samples], *changes)


def importance_table(
    session: Session,
    coordinates: xr.Dataset,
    add_batch: Callable[[Batch, Baseline, PairedSums], None],
    *,
    schema: str,
    value: str,
    at_most: int | None = None,
    kept_bytes: int = 0,
    beside: Mapping[str, npt.NDArray[Any]] | None = None,
) -> xr.Dataset:
    """Ablate units, directions or groups, each alone, and return the table of their importance.

    Parameters
    ----------
    session
        The session.
    coordinates
        Coordinates of the table on its one dimension.
    add_batch
        Function that ablates each row of the table alone on a batch, and adds the scores of the
        batch to the baseline and the changes to the sums.
    schema
        Name of the table's schema.
    value
        Name of the value that is clamped to, for the attributes.
    at_most, kept_bytes
        Largest number of samples per batch, and bytes per sample that the ablation holds, as
        :meth:`~unitlens.perturbation.session.Session.batches` takes them.
    beside
        Further variables on the dimension of the table.
    """
    ((dim, rows),) = coordinates.sizes.items()
    baseline = Baseline()
    sums = PairedSums(rows, session.classes, session.device)
    description = schema.replace("_", " ")
    for batch in summed_batches(
        session, (baseline, sums), description, at_most=at_most, kept_bytes=kept_bytes
    ):
        add_batch(batch, baseline, sums)
    arrays = sums.importance(by_class=session.by_class) | dict(beside or {})
    table = coordinates.assign(
        {name: ((dim, "class")[: array.ndim], array) for name, array in arrays.items()}
    )
    if "class" in table.dims:
        table = table.assign_coords({"class": np.arange(table.sizes["class"])})
    attributes = {"value": value, **session.attributes()}
    table = session.annotated(table, schema)
    return table.assign_attrs(attributes, **baseline.attributes())
