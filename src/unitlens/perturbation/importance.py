"""Importance: changes of loss and hits by ablations alone, their means and standard errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional

from unitlens.perturbation.engine.effects import Effect, SummedEffect
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.repeatable_sums import add_at
from unitlens.perturbation.engine.sample_scores import SampleScores
from unitlens.perturbation.mean_errors import mean_and_error, most_damaged
from unitlens.perturbation.mean_scores import Baseline
from unitlens.perturbation.position_scores import PositionScore
from unitlens.perturbation.position_sums import PositionSums
from unitlens.perturbation.saved_sums import Summed
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session
from unitlens.perturbation.summed_batches import summed_batches

Ints = npt.NDArray[np.int64]


class ImportanceSums(Summed, Protocol):
    """Sums that give the importance of the rows of a table."""

    def importance(self) -> dict[str, Floats]:
        """Return estimates by the name of the declared variable."""


AnySums = TypeVar("AnySums", bound=ImportanceSums)


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
    by_class
        Whether to return the importance by class.

    Attributes
    ----------
    classes
        Number of classes. The number grows where a sample of a further class is counted.
    """

    summed: ClassVar[tuple[str, ...]] = ("classes", "_samples", "_sums")

    def __init__(
        self, rows: int, classes: int, device: torch.device, *, by_class: bool = True
    ) -> None:
        self.classes, self._are_classes = classes, by_class
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
        self.add_terms(rows, classes, loss, loss**2, hits, hits**2)

    def add_terms(
        self,
        rows: Tensor,
        classes: Tensor,
        loss: Tensor,
        loss_squares: Tensor,
        hits: Tensor,
        hits_squares: Tensor,
    ) -> None:
        """Add one term to each sum for each pair of a row and a sample.

        Parameters
        ----------
        rows, classes
            Row and class of each pair, (pairs,).
        loss, loss_squares, hits, hits_squares
            Terms of the sums of the changes of loss and hits, and of their squares, float64
            (pairs,).
        """
        cells = rows * self.classes + classes
        terms = loss, loss_squares, hits, hits_squares
        for sums, addend in zip(self._sums, terms, strict=True):
            add_at(sums.view(-1), 0, cells, addend)

    @property
    def samples(self) -> Floats:
        """Number of samples of each class that were counted, (classes,)."""
        counts: Floats = self._samples.cpu().numpy()
        return counts

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
            add_at(sums, 0, rows, addend)

    def importance(self) -> dict[str, Floats]:
        """Return mean changes and their standard errors by the name of the declared variable.

        The standard error is that of a mean of paired differences: their standard deviation (with
        n - 1) over the root of n. A mean over no sample is NaN, an error of fewer than two too.
        """
        samples = self._samples.cpu().numpy()
        loss, loss_squares, hits, hits_squares = self._sums.cpu().numpy()
        total = samples.sum()
        variables = _named("loss_increase", loss.sum(1), loss_squares.sum(1), total)
        variables |= _named("accuracy_drop", -hits.sum(1), hits_squares.sum(1), total)
        if self._are_classes:
            variables |= _named("class_loss_increase", loss, loss_squares, samples)
            variables |= _named("class_accuracy_drop", -hits, hits_squares, samples)
            drops, errors = (variables[f"class_accuracy_drop{suffix}"] for suffix in ("", "_se"))
            variables |= most_damaged(drops, errors)
        return variables


Sums = PairedSums | PositionSums


def make_sums(session: Session, rows: int) -> Sums:
    """Return sums for the rows of a table, as the score of the session needs them."""
    if isinstance(session.score, PositionScore):
        return PositionSums(rows, session.score, session.memory_bytes, session.device)
    return PairedSums(rows, session.classes, session.device, by_class=session.by_class)


def _named(
    name: str, total: Floats, squares: Floats, samples: Floats | np.float64
) -> dict[str, Floats]:
    mean, error = mean_and_error(total, squares, samples)
    return {name: mean, f"{name}_se": error}


def add_changes(
    session: Session,
    batch: Batch,
    perturbed: Sequence[Directions],
    baseline: Baseline,
    sums: Sums,
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
    before = begin_batch(session, batch, base.logits, baseline, sums)
    top = session.score.top
    score = session.score.of_rows
    scores = None if top is None else SampleScores(batch.classes, *before, top, score)
    for effect in session.engine.each_alone(base, perturbed, scores, batch.is_due):
        if isinstance(effect, SummedEffect) and isinstance(sums, PairedSums):
            sums.add_sums(effect.table_rows, *map(torch.as_tensor, effect.sums))
        elif isinstance(effect, Effect):
            pairs = effect.table_rows, effect.samples
            add_outputs(session, batch, before, sums, pairs, effect.logits)


def begin_batch(
    session: Session, batch: Batch, logits: Tensor, baseline: Baseline, sums: Sums
) -> tuple[Tensor, Tensor]:
    """Add the unperturbed network's scores on a batch, and return the loss and hit of each sample.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    logits
        Output of the unperturbed network on the batch.
    baseline, sums
        The baseline, which is added to, and the sums, to which changes on the batch are added next.
    """
    scores = baseline.add(session, batch, logits)
    if isinstance(sums, PositionSums):
        sums.begin(batch.targets, logits)
    else:
        sums.count(batch.classes)
    return scores


def add_outputs(
    session: Session,
    batch: Batch,
    before: tuple[Tensor, Tensor],
    sums: Sums,
    pairs: tuple[Tensor, Tensor],
    outputs: Tensor,
) -> None:
    """Add the changes of outputs, one for each pair of a row of the table and a sample.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    before
        Loss and hit of each sample under the unperturbed network.
    sums
        The sums, which are added to.
    pairs
        Row and sample of each pair, each (pairs,).
    outputs
        The outputs, (pairs, ...).
    """
    rows, samples = pairs
    if isinstance(sums, PositionSums):
        sums.add_outputs(rows, samples, outputs)
        return
    ablated = session.score.of_rows(outputs, batch.targets[samples])
    loss, hits = (after - of[samples] for after, of in zip(ablated, before, strict=True))
    sums.add(rows, batch.classes[samples], loss, hits)


def importance_table(
    session: Session,
    coordinates: xr.Dataset,
    add_batch: Callable[[Batch, Baseline, AnySums], None],
    sums: AnySums,
    *,
    schema: str,
    value: str,
    at_most: int | None = None,
    kept_bytes: int = 0,
    beside: Mapping[str, npt.NDArray[Any]] | None = None,
    saved: Sequence[Summed] = (),
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
    sums
        The sums.
    schema
        Name of the table's schema.
    value
        Name of the value that is clamped to, for the attributes.
    at_most, kept_bytes
        Largest number of samples per batch, and bytes per sample that the ablation holds, as
        :meth:`~unitlens.perturbation.session.Session.batches` takes them.
    beside
        Further variables on the dimension of the table.
    saved
        What else is saved with the sums of an unfinished call.
    """
    (dim,) = coordinates.dims
    baseline = Baseline()
    description = schema.replace("_", " ")
    for batch in summed_batches(
        session, (baseline, sums, *saved), description, at_most=at_most, kept_bytes=kept_bytes
    ):
        add_batch(batch, baseline, sums)
    arrays = sums.importance() | dict(beside or {})
    table = coordinates.assign(
        {name: ((dim, "class")[: array.ndim], array) for name, array in arrays.items()}
    )
    if "class" in table.dims:
        table = table.assign_coords({"class": np.arange(table.sizes["class"])})
    attributes = {"value": value, **session.attributes()}
    if isinstance(sums, PositionSums) and sums.left_out:
        attributes["no_class_importance"] = sums.left_out
    table = session.annotated(table, schema)
    return table.assign_attrs(attributes, **baseline.attributes())
