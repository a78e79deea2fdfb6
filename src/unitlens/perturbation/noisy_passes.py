"""Passes of a network with noise on all its units, scored for each draw and scale of the noise."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from unitlens.model.layers import UnitLayer
from unitlens.perturbation.element_noise import ElementNoise
from unitlens.perturbation.mean_scores import Baseline, VariantScores
from unitlens.perturbation.noise_deviations import NoisePer, element_layers
from unitlens.perturbation.normal_numbers import standard_normal
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session
from unitlens.perturbation.summed_batches import summed_batches
from unitlens.perturbation.values.unit_values import align_with_activations


class NoisyPasses:
    """Scores under noise, one variant of the network per draw and scale.

    Parameters
    ----------
    session
        The session.
    scales, deviations
        Scales of the noise, and the standard deviation that scales each unit's.
    draws, seed
        Numbers of the draws, and their seed.
    per
        What has noise of its own.
    """

    def __init__(
        self, session: Session, scales: Floats, deviations: Floats, draws: Sequence[int], seed: int,
        per: NoisePer,
    ) -> None:  # fmt: skip
        self._session, self._scales, self._draws, self._seed = session, scales, draws, seed
        self._factors = session.tensor(np.tile(scales, len(draws))).reshape(-1, 1, 1)
        self._deviations = session.tensor(deviations)
        by_layer = session.split(self._deviations)
        maps = {layer.name: by_layer[layer.name] for layer in element_layers(session, per)}
        self._elements = ElementNoise(session, maps, seed)
        # Start of the batch, first and last draw for which the noise of units is at hand.
        self._drawn_for = (-1, -1, -1)
        self._drawn: dict[int, dict[str, Tensor]] = {}
        self._scores = VariantScores(session, len(draws) * len(scales))
        self.baseline = Baseline()

    def add_all(self) -> None:
        """Score all draws and scales on all samples."""
        for batch in summed_batches(
            self._session,
            (self.baseline, self._scores),
            "noise robustness",
            at_most=self._session.engine.samples_together,
            kept_bytes=self._elements.sample_bytes,
        ):
            self._add(batch)

    def _add(self, batch: Batch) -> None:
        """Score all draws and scales on a batch."""
        self.baseline.add(self._session, batch)

        def add_noise(layer: UnitLayer, activations: Tensor, variants: slice) -> Tensor:
            if layer in self._elements:
                goes_on = variants.stop % len(self._scales) > 0
                pairs = self._pairs(variants)
                return self._elements.add(layer, batch, activations, pairs, goes_on=goes_on)
            noise = self._noise(layer, batch, variants)
            aligned = align_with_activations(noise, layer, activations.dim())
            if len(activations) == len(noise):
                return activations.add_(aligned)
            return activations + aligned

        count, engine = len(self._factors), self._session.engine
        runs = engine.together(batch.inputs, count, add_noise, is_due=batch.is_due)
        for variants, outputs in runs:
            self._scores.add(variants, outputs, batch)

    def _pairs(self, variants: slice) -> list[tuple[int, float]]:
        """Return the draw and the scale of some variants."""
        places = (divmod(v, len(self._scales)) for v in range(variants.start, variants.stop))
        return [(self._draws[draw], float(self._scales[scale])) for draw, scale in places]

    def _noise(self, layer: UnitLayer, batch: Batch, variants: slice) -> Tensor:
        """Return the noise of a layer's units, (variants, samples, units)."""
        draws = [draw for draw, _ in self._pairs(variants)]
        if self._drawn_for != (batch.start, draws[0], draws[-1]):
            self._drawn_for = (batch.start, draws[0], draws[-1])
            self._drawn = {draw: self._draw(batch, draw) for draw in dict.fromkeys(draws)}
        drawn = torch.stack([self._drawn[draw][layer.name] for draw in draws])
        return drawn.mul_(self._factors[variants])

    def _draw(self, batch: Batch, draw: int) -> dict[str, Tensor]:
        """Return the noise of units of one draw on a batch at scale 1, by the name of the layer."""
        stop = batch.start + len(batch.inputs)
        normal = standard_normal(self._seed, draw, batch.start, stop, self._session.units)
        return self._session.split(normal.to(self._deviations) * self._deviations)

    def table(self) -> xr.Dataset:
        """Return accuracy and loss by draw and scale."""
        shape = (len(self._draws), len(self._scales))
        variables = {
            name: (("draw", "noise_scale"), means.reshape(shape))
            for name, means in self._scores.means().items()
        }
        coordinates = {"draw": np.array(self._draws), "noise_scale": self._scales}
        return self._session.annotated(xr.Dataset(variables, coordinates), "noise_robustness")
