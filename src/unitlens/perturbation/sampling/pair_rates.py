"""Probabilities with which pairs of a unit and a sample are drawn.

The pair of unit u and sample i is drawn with the probability

    pi_iu = min(1, r_u w_iu),    w_iu = a + (1 - a) s_iu / mean_i s_iu

where s_iu is the size of the pair and the mean is over the samples that the ablation of the unit
changes; pairs that it does not change are never drawn, since their loss change is 0. The share a of
plain sampling bounds the error where sizes mislead. The rate r_u follows from a share of the pairs,
or from the standard error that is wanted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unitlens.perturbation.sampling.predicted_changes import Predictions

PLAIN_SHARE = 0.2  # of plain sampling: the share a
PILOT_PAIRS = 16  # of each unit, on which errors of prediction are seen
FEWEST_PAIRS = 16  # of each unit that are drawn for a standard error, as far as there are any
ALL_PAIRS = 1 / PLAIN_SHARE  # rate at which all changed pairs are drawn, for no weight is below a
_RARE = 4  # changed pairs in the pilot, below which a unit changes so few samples that all are run
_STEPS = 60  # halvings of an interval of rates


@dataclass(frozen=True)
class PairRates:
    """Rates of drawing the pairs of each unit.

    Attributes
    ----------
    mean_sizes
        Mean size of the pairs of each unit, over pilot samples that its ablation changes, (units,).
    rates
        The rate of each unit, (units,).
    """

    mean_sizes: Tensor
    rates: Tensor

    def probabilities(self, predictions: Predictions) -> Tensor:
        """Return the probability of each pair of a batch, (units, samples).

        Parameters
        ----------
        predictions
            Predictions on the batch.
        """
        weights = _pair_weights(predictions, self.mean_sizes)
        return (self.rates.unsqueeze(1) * weights).clamp_(max=1.0)


class Pilot:
    """Predictions on the pilot samples, from which the rates follow.

    Parameters
    ----------
    predictions
        Predictions on all pilot samples.
    samples
        Number of all scored samples.

    Examples
    --------
    >>> import torch
    >>> sizes = torch.tensor([[0.0, 1.0, 1.0, 4.0]], dtype=torch.float64)
    >>> predictions = Predictions(torch.zeros_like(sizes), sizes, sizes > 0)
    >>> rates = Pilot(predictions, 100).rates_for_share(0.5)
    >>> rates.probabilities(predictions).sum().round(decimals=6).item()  # half of 3 pairs
    1.5
    """

    def __init__(self, predictions: Predictions, samples: int) -> None:
        self._samples = samples
        counts = predictions.changed.sum(dim=1)
        sums = (predictions.sizes * predictions.changed).sum(dim=1)
        self._mean_sizes = sums / counts.clamp(min=1)
        self._weights = _pair_weights(predictions, self._mean_sizes)
        self._changed = counts.to(self._weights.dtype)
        self._pilot = predictions.sizes.shape[1]

    def rates_for_share(self, share: float) -> PairRates:
        """Return the rates at which a share of the changed pairs of each unit is drawn.

        Parameters
        ----------
        share
            The share, above 0 and at most 1.
        """
        found = self._rates_for_pairs(share * self._changed)
        rates = torch.where(self._changed > 0, found, share) if share < 1 else self._all_pairs
        return PairRates(self._mean_sizes, rates)

    def first_rates(self) -> PairRates:
        """Return the rates at which :data:`PILOT_PAIRS` pairs of each unit are drawn."""
        found = self._rates_for_pairs(self._changed.clamp(max=PILOT_PAIRS))
        rates = torch.where(self._changed > PILOT_PAIRS, found, self._all_pairs)
        return PairRates(self._mean_sizes, rates)

    def rates_for_error(
        self, first: PairRates, drawn: Tensor, errors: Tensor, tolerance: float
    ) -> PairRates:
        """Return the rates at which the standard error of each loss increase is the tolerance.

        The variance of a loss increase is ``sum_i e_iu^2 (1 - pi_iu) / pi_iu / N^2``. The errors
        of prediction e_iu are taken to be proportional to the weights w_iu, by a factor for each
        unit that follows from the drawn pairs.

        Parameters
        ----------
        first
            The rates of :meth:`first_rates`.
        drawn
            Whether a pair of the pilot samples was drawn at the first rates, (units, samples).
        errors
            Loss change minus its prediction, where a pair was drawn.
        tolerance
            The standard error.
        """
        probabilities = self._probabilities(first.rates)
        seen = torch.where(drawn, errors.square() / probabilities, 0.0)
        weights = torch.where(self._weights > 0, self._weights, torch.inf)
        expected = self._weights.sum(dim=1).clamp(min=torch.finfo(seen.dtype).tiny)
        factors = (seen / weights).sum(dim=1) / expected
        squares = factors.unsqueeze(1) * self._weights.square()
        times = self._samples / self._pilot  # how many times the pilot all samples are

        def enough(rates: Tensor) -> Tensor:
            against = _odds_against(self._probabilities(rates))
            return times * (squares * against).sum(dim=1) <= (tolerance * self._samples) ** 2

        fewest = torch.full_like(self._changed, FEWEST_PAIRS / times)
        least = self._rates_for_pairs(torch.minimum(fewest, self._changed))
        rates = torch.maximum(least, _smallest_rates(enough, least))
        rates = torch.where(self._changed < _RARE, self._all_pairs, rates)
        return PairRates(self._mean_sizes, rates)

    def _probabilities(self, rates: Tensor) -> Tensor:
        return (rates.unsqueeze(1) * self._weights).clamp(max=1.0)

    def _rates_for_pairs(self, wanted: Tensor) -> Tensor:
        """Return the rates at which so many pairs of the pilot samples are drawn, (units,)."""

        def enough(rates: Tensor) -> Tensor:
            return self._probabilities(rates).sum(dim=1) >= wanted

        return _smallest_rates(enough, wanted)

    @property
    def _all_pairs(self) -> Tensor:
        return torch.full_like(self._changed, ALL_PAIRS)


def _pair_weights(predictions: Predictions, mean_sizes: Tensor) -> Tensor:
    """Return the weight of each pair, (units, samples): 0 where nothing changes.

    Parameters
    ----------
    predictions
        Predictions on some samples.
    mean_sizes
        Mean size of the pairs of each unit, (units,); plain sampling where it is 0.
    """
    means = mean_sizes.unsqueeze(1)
    relative = torch.where(means > 0, predictions.sizes / means, 1.0)
    return (PLAIN_SHARE + (1 - PLAIN_SHARE) * relative) * predictions.changed


def _odds_against(probabilities: Tensor) -> Tensor:
    """Return ``(1 - pi) / pi``, and 0 where pi is 0: where nothing changes."""
    return torch.where(probabilities > 0, (1 - probabilities) / probabilities, 0.0)


def _smallest_rates(enough: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Return the smallest rate of each unit that is enough, :data:`ALL_PAIRS` where none is.

    Parameters
    ----------
    enough
        Function of rates (units,) that tells of each unit whether its rate is enough. If a rate is
        enough, so is a larger one.
    like
        Numbers of the units, (units,), whose type and device the rates have.
    """
    high, low = torch.full_like(like, ALL_PAIRS), torch.zeros_like(like)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        is_enough = enough(middle)
        high = torch.where(is_enough, middle, high)
        low = torch.where(is_enough, low, middle)
    return high
