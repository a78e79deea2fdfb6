"""Sampled ablation: a few samples set the rates at which all pairs are drawn.

The pilot is a seeded random group of few of the scored samples. There, pairs are drawn at a rate
that depends on no loss change, and the errors of prediction of these pairs set the rates at which
the pairs of all samples are drawn anew. Given the rates, these draws are independent of the pilot's
draws, so that the estimate is unbiased. The rate of a unit depends on the unit's own pairs alone:
every part of the units draws the pairs that the whole draws.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from unitlens.analysis.reliability import sampling_attributes
from unitlens.data.map_style import Indices
from unitlens.errors import ArgumentError
from unitlens.perturbation.engine.effects import Effect
from unitlens.perturbation.engine.steps import IsDue
from unitlens.perturbation.first_order import NoGradientError
from unitlens.perturbation.importance import Ints, importance_table
from unitlens.perturbation.mean_scores import Baseline
from unitlens.perturbation.partial_calls import PILOT
from unitlens.perturbation.sampling.drawn_changes import DrawnChanges
from unitlens.perturbation.sampling.pair_draws import pair_uniforms
from unitlens.perturbation.sampling.pair_rates import FEWEST_PAIRS, PairRates, Pilot
from unitlens.perturbation.sampling.predicted_changes import Predictions, plain_predictions
from unitlens.perturbation.sampling.sampled_sums import SampledSums
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session
from unitlens.perturbation.summed_batches import going_on, identity_for
from unitlens.progress import track
from unitlens.seeds import seeded

logger = logging.getLogger("unitlens")

# Samples of the pilot: a sixteenth of all samples, but at least some (a quarter of few samples),
# and at most so many.
_PILOT_SHARE, _LEAST_PILOT, _MOST_PILOT = 1 / 16, 64, 256
_LARGE = 2.0  # times the tolerance: standard errors that are told
PAIR_BYTES = 64  # of a pair of a unit and a sample: prediction, size, probability, changes


@dataclass(frozen=True)
class PairSampling:
    """Which share of the pairs of a unit, direction or group and a sample is drawn.

    Attributes
    ----------
    rate
        Share of the pairs of each unit; None where `tolerance` sets it.
    tolerance
        Largest standard error wanted of the loss increase of a unit; None where `rate` is given.
    kind
        What a pair is of, for messages: ``"unit"``, ``"direction"`` or ``"group"``.
    """

    rate: float | None
    tolerance: float | None
    kind: str = "unit"

    def check(self) -> None:
        """Raise an ArgumentError where a number is out of its range, or both are given."""
        rate, tolerance = self.rate, self.tolerance
        if rate is not None and tolerance is not None:
            raise ArgumentError(f"rate is {rate} and tolerance {tolerance}: give one of them")
        if rate is not None and not 0 < rate <= 1:
            raise ArgumentError(
                f"rate is {rate}, but must be above 0 and at most 1: the share of the pairs of a "
                f"{self.kind} and a sample that are run"
            )
        if tolerance is not None and not 0 < tolerance < np.inf:
            raise ArgumentError(
                f"tolerance is {tolerance}, but must be a number above 0: the standard error "
                "wanted of a loss increase; leave it out for an exact result"
            )

    @property
    def is_exact(self) -> bool:
        """Whether all pairs are run."""
        return self.rate is None and self.tolerance is None


class BatchAblation(Protocol):
    """Units, directions or groups that are ablated, each alone, on one batch."""

    def predictions(self) -> Predictions:
        """Return the predictions of all rows of the table.

        Raises
        ------
        NoGradientError
            Where no gradient can be computed through the model or the score.
        """

    def outputs(self, drawn: Tensor, is_due: IsDue) -> tuple[Tensor, Iterable[Effect]]:
        """Return the outputs of the unperturbed network, and the effects of drawn pairs.

        Parameters
        ----------
        drawn
            Whether a row of the table is ablated on a sample, (rows, samples).
        is_due
            Function that tells whether a step of some rows runs.
        """


class SampledAblation:
    """Ablation of units, directions or groups, each alone, on drawn samples.

    Parameters
    ----------
    session
        The session.
    ablation_of
        Function of a batch that returns the ablation on this batch.
    numbers
        Number of each row of the table, by which its pairs are drawn.
    sampling
        The share of pairs.
    kept_bytes
        Bytes per sample that the replacement of a batch holds.

    Raises
    ------
    ArgumentError
        Where the output for a sample depends on other samples of its batch.
    """

    summed: ClassVar[tuple[str, ...]] = ("_plain_because",)

    def __init__(
        self,
        session: Session,
        ablation_of: Callable[[Batch], BatchAblation],
        numbers: Ints,
        sampling: PairSampling,
        *,
        kept_bytes: int = 0,
    ) -> None:
        if not session.engine.repeatability.is_by_sample:
            raise ArgumentError(
                "rate or tolerance is given, but the output for a sample depends on the other "
                "samples of its batch, so that no sample can be run without the others; "
                "leave rate and tolerance out"
            )
        self._session, self._ablation_of = session, ablation_of
        self._numbers, self._sampling = numbers, sampling
        # Of the units of all parts, so that a part has the batches of the whole.
        self._kept_bytes = kept_bytes + PAIR_BYTES * session.units
        self._at_most = session.engine.memory.backward_samples(self._kept_bytes)
        self._plain_because = ""
        # Changes of the pairs of a batch.
        self._drawn_changes = DrawnChanges(session.device)
        identity = identity_for(session, at_most=self._at_most, kept_bytes=self._kept_bytes)
        self._pilot = None if identity is None else identity.of_preparation(PILOT)
        self._rates = self._find_rates()

    def table(
        self,
        coordinates: xr.Dataset,
        *,
        schema: str,
        value: str,
        beside: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> xr.Dataset:
        """Run the drawn pairs, and return the table of their estimates.

        Parameters
        ----------
        coordinates
            Coordinates of the table on its one dimension.
        schema
            Name of the table's schema.
        value
            Name of the value that is clamped to, for the attributes.
        beside
            Further variables on the dimension of the table.
        """
        session = self._session
        estimates = importance_table(
            session, coordinates, self._add_batch,
            self._sums(), schema=schema, value=value, at_most=self._at_most,
            kept_bytes=self._kept_bytes, beside=beside, saved=(self, self._drawn_changes),
        )  # fmt: skip
        if self._pilot is not None and self._pilot.call.path is not None:
            self._pilot.call.path.unlink(missing_ok=True)
        return estimates.assign_attrs(self._attributes(estimates))

    def _sums(self) -> SampledSums:
        session, rows = self._session, len(self._numbers)
        return SampledSums(
            rows, session.classes, session.device, by_class=session.by_class,
            are_shares=session.score.top is not None,
        )  # fmt: skip

    def _add_batch(self, batch: Batch, baseline: Baseline, sums: SampledSums) -> None:
        """Ablate the drawn pairs of a batch, and add predictions, changes and the baseline."""
        ablation = self._ablation_of(batch)
        predictions = self._predictions(batch, ablation)
        sums.count(batch.classes)
        sums.add_predictions(predictions.changes, batch.classes)
        probabilities = self._rates.probabilities(predictions)
        drawn = self._drawn(batch, probabilities, "pairs")
        changes = self._drawn_changes
        changes.begin(drawn)
        sums.see_hits(self._add_changes(changes, batch, ablation, drawn, baseline))
        changes.check()
        rows, samples = drawn.nonzero(as_tuple=True)
        sums.add_drawn(
            rows, batch.classes[samples], probabilities[rows, samples],
            changes.loss, predictions.changes[rows, samples], changes.hits,
        )  # fmt: skip

    def _attributes(self, table: xr.Dataset) -> dict[str, object]:
        """Return the attributes that tell how the pairs of a table were drawn."""
        sampling = self._sampling
        chosen = {"rate": sampling.rate, "tolerance": sampling.tolerance}
        attributes: dict[str, object] = {n: v for n, v in chosen.items() if v is not None}
        attributes |= sampling_attributes(table.assign_attrs(attributes))
        if sampling.tolerance is not None:
            errors = table["loss_increase_sampling_se"].to_numpy()
            _tell_large_errors(errors, sampling.tolerance, sampling.kind)
        else:
            _tell_few_pairs(table, sampling.kind)
        if self._plain_because:
            attributes["drawn_without_gradient"] = self._plain_because
        return attributes

    def _find_rates(self) -> PairRates:
        """Run the pilot, and return the rates."""
        found: list[Predictions] = []
        batches = [*self._pilot_batches()]
        for batch in batches:
            ablation = self._ablation_of(batch)
            found.append(self._predictions(batch, ablation))
        pilot = Pilot(Predictions.of_all(found), self._session.samples)
        if self._sampling.rate is not None:
            return pilot.rates_for_share(self._sampling.rate)
        rates = pilot.first_rates()
        drawn = torch.cat(
            [
                self._drawn(batch, rates.probabilities(predictions), "pilot pairs")
                for batch, predictions in zip(batches, found, strict=True)
            ],
            dim=1,
        )
        changes, positions = DrawnChanges(drawn.device), _pilot_positions(self._session)
        changes.begin(drawn)
        tracked = track(batches, "pairs of the pilot")
        for batch in going_on(tracked, self._pilot, (changes,)):
            if len(batches) > 1:  # memory holds the values of one batch
                ablation = self._ablation_of(batch)
            first = int(np.searchsorted(positions, batch.start))
            of_batch = drawn[:, first : first + len(batch.positions)]
            self._add_changes(changes, batch, ablation, of_batch, None, first)
        changes.check()
        predicted = torch.cat([predictions.changes for predictions in found], dim=1)
        errors = torch.zeros_like(predicted)
        errors[drawn] = changes.loss - predicted[drawn]
        assert self._sampling.tolerance is not None  # noqa: S101  is_exact is false
        return pilot.rates_for_error(rates, drawn, errors, self._sampling.tolerance)

    def _pilot_batches(self) -> Iterator[Batch]:
        return self._session.batches(
            "pilot of the sampling", at_most=self._at_most, kept_bytes=self._kept_bytes,
            positions=_pilot_positions(self._session),
        )  # fmt: skip

    def _predictions(self, batch: Batch, ablation: BatchAblation) -> Predictions:
        if not self._plain_because:
            try:
                return ablation.predictions()
            except NoGradientError as error:
                self._plain_because = str(error)
                logger.warning(
                    "pairs are drawn at one rate a %s, for no gradient predicts their loss "
                    "changes: %s", self._sampling.kind, self._plain_because,
                )  # fmt: skip
        return plain_predictions(len(self._numbers), len(batch.positions), self._session.device)

    def _drawn(self, batch: Batch, probabilities: Tensor, purpose: str) -> Tensor:
        """Tell which pairs of a batch are drawn, (rows, samples)."""
        samples = self._session.indices[batch.positions]
        uniforms = pair_uniforms(self._session.seed, purpose, self._numbers, samples)
        return torch.as_tensor(uniforms, device=probabilities.device) < probabilities

    def _add_changes(
        self,
        changes: DrawnChanges,
        batch: Batch,
        ablation: BatchAblation,
        drawn: Tensor,
        baseline: Baseline | None,
        first: int = 0,
    ) -> Tensor:
        """Run the drawn pairs of a batch, and add their changes of loss and hits.

        Parameters
        ----------
        changes
            The changes, which are added to.
        batch, ablation
            The batch, and the ablation on it.
        drawn
            Whether a pair is drawn, (rows, samples of the batch).
        baseline
            Scores of the unperturbed network, which are added to; None for the pilot.
        first
            Place of the batch's first sample among the samples of the changes.

        Returns
        -------
        Hit of each sample under the unperturbed network.
        """
        session = self._session
        output, effects = ablation.outputs(drawn, batch.is_due)
        if baseline is None:
            losses, hits = session.score(output, batch.targets)
        else:
            losses, hits = baseline.add(session, batch, output)
        for effect in effects:
            rows, samples = effect.table_rows, effect.samples
            loss, hit = session.score.of_rows(effect.logits, batch.targets[samples])
            changes.add(rows, samples + first, loss - losses[samples], hit - hits[samples])
        return hits


def _pilot_positions(session: Session) -> Indices:
    """Return the positions of the pilot among the scored samples, ascending."""
    samples = session.samples
    least = min(_LEAST_PILOT, max(samples // 4, 1))
    size = min(max(least, int(samples * _PILOT_SHARE)), _MOST_PILOT)
    return np.sort(seeded(session.seed, "pilot").permutation(samples)[:size])


def _tell_few_pairs(table: xr.Dataset, kind: str) -> None:
    few = (table["pairs"] < FEWEST_PAIRS) & (table["loss_increase_sampling_se"] > 0)
    if few.any():
        logger.warning(
            "%d of %d %ss have fewer than %d drawn pairs, of which intervals are often too short; "
            "raise rate, or give tolerance", int(few.sum()), few.size, kind, FEWEST_PAIRS,
        )  # fmt: skip


def _tell_large_errors(errors: Floats, tolerance: float, kind: str) -> None:
    large = int((errors > _LARGE * tolerance).sum())
    if large:
        logger.warning(
            "the standard error of the loss increase of %d of %d %ss is above %g times the "
            "tolerance %g, at most %.3g, for few pairs of the pilot told of it; lower tolerance, "
            "or give rate", large, len(errors), kind, _LARGE, tolerance, errors.max(),
        )  # fmt: skip
