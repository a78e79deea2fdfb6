"""Moments of the elements of an activation: of its numbers at all samples and positions."""

import torch
from torch import Tensor

from unitlens.model.layers import UnitLayer

# Numbers that are converted to float64 at once. On a CPU they fit its caches.
_AT_ONCE, _AT_ONCE_ON_GPU = 2**18, 2**24


def has_maps(layer: UnitLayer) -> bool:
    """Tell whether units of a layer have axes of positions, such as those of feature maps.

    Examples
    --------
    >>> [has_maps(UnitLayer("relu", 0, 4, shape, axis=1)) for shape in [(4,), (4, 3), (4, 1, 1)]]
    [False, True, True]
    """
    return len(layer.shape) > 1


def element_moments(layer: UnitLayer, activation: Tensor) -> Tensor:
    """Return the moments of the elements of each unit, over some samples and all positions at once.

    Parameters
    ----------
    layer
        The layer.
    activation
        Its activation, (samples, ...), of at least one sample.

    Returns
    -------
    Number of elements, their mean, and the sum of their squared deviations from the mean, of each
    unit and each group of samples, float64 (groups, 3, units).

    Examples
    --------
    >>> layer = UnitLayer("relu", 0, units=1, shape=(1, 2), axis=1)
    >>> element_moments(layer, torch.tensor([[[0.0, 1.0]], [[5.0, 2.0]]])).tolist()
    [[[4.0], [2.0], [14.0]]]
    """
    by_unit = activation.movedim(layer.axis, 1)
    numbers = _AT_ONCE if activation.device.type == "cpu" else _AT_ONCE_ON_GPU
    samples = max(1, numbers // max(1, by_unit[0].numel()))
    return torch.stack([_moments(group) for group in torch.split(by_unit, samples)])


def _moments(by_unit: Tensor) -> Tensor:
    """Return the moments (3, units) of an activation (samples, units, ...)."""
    elements = by_unit.double()
    axes = [axis for axis in range(elements.dim()) if axis != 1]
    mean = elements.mean(axes, keepdim=True)
    deviations = (elements - mean).square_().sum(axes)
    count = torch.full_like(deviations, elements.numel() / elements.shape[1])
    return torch.stack([count, mean.flatten(), deviations])
