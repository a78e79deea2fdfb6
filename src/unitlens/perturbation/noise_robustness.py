"""Noise robustness: noise on all units at once, scaled by each unit's own variance."""

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.data.batches import MapStyle
from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer
from unitlens.model.precision import Precision
from unitlens.perturbation.scores import Floats, ScoreChoice
from unitlens.perturbation.session import (
    Baseline,
    Batch,
    Session,
    Settings,
    open_session,
)
from unitlens.perturbation.values.unit_values import by_unit, on_axis
from unitlens.seeds import derived_seed

NOISE_BLOCK = 64  # samples whose noise one generator draws; part of what a seed means


def noise_robustness(
    model: nn.Module,
    dataset: MapStyle,
    scales: npt.ArrayLike,
    *,
    variance: xr.DataArray,
    draws: int = 10,
    seed: int = 0,
    samples: int | None = None,
    batch_size: int = 4096,
    device: torch.device | str = "cpu",
    memory_gb: float = 2.0,
    score: ScoreChoice = "top1",
    precision: Precision = None,
) -> xr.Dataset:
    """Add Gaussian noise to all units of all layers at once, and score the network.

    Each unit's noise has mean zero and standard deviation ``scale * sqrt(variance)``, is fresh for
    each sample, is added after the nonlinearity and not rectified again. A feature map is one
    unit, so it gets one number for each sample, the same at all positions: the noise of its
    activation, the mean over positions, then has the variance that is asked for, which
    independent noise at each position would average away. A draw uses the same normal numbers at
    every scale, so that curves over scales are smooth; draws are independent of each other.

    Parameters
    ----------
    model, dataset, samples, seed, batch_size, device, memory_gb, score, precision
        As :mod:`unitlens.perturbation` says. The noise of a sample depends on its place among
        those that are scored, not on the batch size or the device.
    scales
        Standard deviations in units of each unit's own, shape (scales,), at least 0.
    variance
        Empirical variance of every unit, a DataArray on `unit` with coordinates `layer` and
        `channel`; usually over the training set.
    draws
        Independent draws of the noise. The first draws do not depend on how many there are.

    Returns
    -------
    Dataset of the schema ``noise_robustness`` on `draw` and `noise_scale`: accuracy and mean
    cross-entropy in nats.

    Raises
    ------
    ArgumentError, ModelError
        As :mod:`unitlens.perturbation` says; ArgumentError too where a unit has no variance or
        one that is not a number of at least 0.
    """
    settings = Settings(None, samples, seed, batch_size, device, memory_gb, score, precision)
    chosen = _checked_scales(scales)
    if draws < 1:
        raise ArgumentError(f"draws is {draws}, but must be at least 1")
    with open_session(model, dataset, settings, "together") as session:
        noisy = _Noisy(session, chosen, _deviations(session, variance), draws, seed)
        for batch in session.batches("noise robustness", at_most=session.engine.samples_together):
            noisy.add(batch)
        return noisy.table().assign_attrs(session.attributes(), **noisy.baseline.attributes())


def _checked_scales(scales: npt.ArrayLike) -> Floats:
    array = np.asarray(scales, np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ArgumentError(f"scales has shape {array.shape}, but must be a list of numbers")
    wrong = array[~(np.isfinite(array) & (array >= 0))]
    if wrong.size:
        raise ArgumentError(f"scales holds {wrong[0]}, but every scale must be at least 0")
    return array


def _deviations(session: Session, variance: xr.DataArray) -> Floats:
    array = by_unit(session, variance, "variance")
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if wrong.size:
        raise ArgumentError(
            f"variance holds {array[wrong[0]]} for unit {wrong[0]}, but must be at least 0 for "
            "every unit"
        )
    return np.sqrt(array)


def standard_normal(seed: int, draw: int, start: int, stop: int, units: int) -> Tensor:
    """Return the numbers of one draw for the samples from `start` to `stop`.

    Parameters
    ----------
    seed, draw
        What the numbers depend on, beside the places of the samples and the number of units.
    start, stop
        Places of the samples among those that are scored.
    units
        Units of all layers.

    Returns
    -------
    Shape (stop - start, units), float32, on the CPU.
    """
    blocks = range(start // NOISE_BLOCK, -(-stop // NOISE_BLOCK))
    drawn = [_block(seed, draw, block, units) for block in blocks]
    offset = blocks.start * NOISE_BLOCK
    return torch.cat(drawn)[start - offset : stop - offset]


def _block(seed: int, draw: int, block: int, units: int) -> Tensor:
    generator = torch.Generator().manual_seed(derived_seed(seed, "noise", draw, block))
    return torch.randn((NOISE_BLOCK, units), generator=generator, dtype=torch.float32)


class _Noisy:
    """Sums over samples for every draw and scale."""

    def __init__(
        self, session: Session, scales: Floats, deviations: Floats, draws: int, seed: int
    ) -> None:
        self._session, self._scales, self._draws, self._seed = session, scales, draws, seed
        self._factors = session.tensor(np.tile(scales, draws)).reshape(-1, 1, 1)
        self._deviations = session.tensor(deviations)
        self._place = (-1, -1, -1)  # what is drawn already: batch, first and last draw
        self._drawn: dict[int, dict[str, Tensor]] = {}
        self._losses, self._hits = np.zeros((2, draws * len(scales)))
        self.baseline = Baseline()

    def add(self, batch: Batch) -> None:
        """Score all draws and scales on a batch."""
        self.baseline.add(self._session, batch)

        def edit(layer: UnitLayer, activations: Tensor, variants: slice) -> Tensor:
            noise = self._noise(layer, batch, variants)
            shaped = on_axis(noise, layer, activations.dim())
            if len(activations) == len(noise):
                return activations.add_(shaped)
            return activations + shaped

        variants = len(self._factors)
        for which, logits in self._session.engine.together(batch.inputs, variants, edit):
            losses, hits = self._session.score.of_variants(logits, batch.targets)
            self._losses[which] += losses.sum(1).cpu().numpy()
            self._hits[which] += hits.sum(1).cpu().numpy()

    def _noise(self, layer: UnitLayer, batch: Batch, variants: slice) -> Tensor:
        """Return the noise of a layer's units, shape (variants, samples, units)."""
        draws = [variant // len(self._scales) for variant in range(variants.start, variants.stop)]
        if self._place != (batch.start, draws[0], draws[-1]):
            self._place = (batch.start, draws[0], draws[-1])
            self._drawn = {draw: self._draw(batch, draw) for draw in dict.fromkeys(draws)}
        drawn = torch.stack([self._drawn[draw][layer.name] for draw in draws])
        return drawn.mul_(self._factors[variants])

    def _draw(self, batch: Batch, draw: int) -> dict[str, Tensor]:
        """Return one draw for a batch by layer, at scale 1."""
        stop = batch.start + len(batch.inputs)
        normal = standard_normal(self._seed, draw, batch.start, stop, self._session.units)
        return self._session.split(normal.to(self._deviations) * self._deviations)

    def table(self) -> xr.Dataset:
        """Return accuracy and loss by draw and scale."""
        shape = (self._draws, len(self._scales))
        means = {"accuracy": self._hits, "loss": self._losses}
        variables = {
            name: (("draw", "noise_scale"), sums.reshape(shape) / self._session.samples)
            for name, sums in means.items()
        }
        coordinates = {"draw": np.arange(self._draws), "noise_scale": self._scales}
        return self._session.annotated(xr.Dataset(variables, coordinates), "noise_robustness")
