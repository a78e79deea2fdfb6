"""Importance: changes of loss and hits by ablations alone, their means and standard errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from unitlens.perturbation.engine.effects import Effect, SummedEffect
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.sample_scores import SampleScores
from unitlens.perturbation.mean_scores import Baseline
from unitlens.perturbation.paired_sums import PairedSums
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


Sums = PairedSums | PositionSums


def make_sums(session: Session, rows: int) -> Sums:
    """Return sums for the rows of a table, as the score of the session needs them."""
    if isinstance(session.score, PositionScore):
        return PositionSums(rows, session.score, session.memory_bytes, session.device)
    return PairedSums(
        rows, session.classes, session.device, by_class=session.by_class,
        are_shares=session.score.top is not None,
    )  # fmt: skip


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
        sums.see_hits(scores[1])
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
