"""Noise on each element of feature maps: each sample, position and unit has a number of its own."""

from collections.abc import Sequence
from math import prod

from torch import Tensor

from unitlens.model.layers import UnitLayer
from unitlens.perturbation.normal_numbers import element_normal
from unitlens.perturbation.session import Batch, Session


class ElementNoise:
    """Noise at scale 1 on the elements of layers, by batch, draw and layer.

    Parameters
    ----------
    session
        The session.
    deviations
        Standard deviation of the elements of each unit, by layer, (units,).
    seed
        Seed of the draws.
    """

    def __init__(self, session: Session, deviations: dict[str, Tensor], seed: int) -> None:
        self._session, self._deviations, self._seed = session, deviations, seed
        self._kept: dict[tuple[int, str], Tensor] = {}
        self._kept_for = -1

    def __contains__(self, layer: UnitLayer) -> bool:
        return layer.name in self._deviations

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample's noise: two draws on all layers, and copies of one layer's."""
        sizes = [prod(layer.shape) for layer in self._session.layers if layer in self]
        numbers = 2 * sum(sizes) + 3 * max(sizes, default=0)
        return numbers * self._session.network.dtype.itemsize

    def add(
        self, layer: UnitLayer, batch: Batch, activations: Tensor,
        variants: Sequence[tuple[int, float]], *, goes_on: bool,
    ) -> Tensor:  # fmt: skip
        """Return activations with noise, (variants, samples, ...).

        Parameters
        ----------
        layer
            The layer.
        batch
            The batch.
        activations
            Shape (variants or 1, samples, ...); changed in place where there is one entry for each
            variant.
        variants
            Draw and scale of each variant, ascending by draw.
        goes_on
            Whether the last draw comes again with the next variants.
        """
        if len(activations) < len(variants):
            activations = activations.repeat(len(variants), *[1] * (activations.dim() - 1))
        self._forget(batch, variants[0][0])
        noise, drawn = None, -1
        for activation, (draw, scale) in zip(activations, variants, strict=True):
            if noise is None or draw != drawn:
                keep = goes_on and draw == variants[-1][0]
                noise, drawn = self._noise(layer, batch, draw, activation, keep=keep), draw
            # A product and then a sum: fused operations would round otherwise at some places.
            activation.add_(noise * scale)
        return activations

    def _forget(self, batch: Batch, draw: int) -> None:
        """Forget noise of other batches and of earlier draws."""
        if batch.start != self._kept_for:
            self._kept.clear()
        self._kept_for = batch.start
        for key in [key for key in self._kept if key[0] < draw]:
            del self._kept[key]

    def _noise(
        self, layer: UnitLayer, batch: Batch, draw: int, activation: Tensor, *, keep: bool
    ) -> Tensor:
        """Return noise in the shape of an activation (samples, ...)."""
        noise = self._kept.get((draw, layer.name))
        if noise is not None and noise.shape == activation.shape:
            return noise
        shape = activation.movedim(layer.axis, -1).shape[1:]
        normal = element_normal(self._seed, draw, batch.positions.tolist(), layer.name, shape)
        deviations = self._deviations[layer.name]
        noise = (normal.to(deviations) * deviations).movedim(-1, layer.axis)
        if keep:
            self._kept[draw, layer.name] = noise
        return noise
