"""What is kept of an activation: its reductions and its maps, in the type of the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unitlens.errors import StoreError
from unitlens.model.graph import same_storage
from unitlens.model.layers import UnitLayer, reduce_positions
from unitlens.model.network import UnitNetwork
from unitlens.store.format.layout import MAP, FeatureMaps, layer_arrays

BATCH_BYTES = 64 * 2**20  # of the values around a layer, on a CPU: some more than its caches hold
DEVICE_BATCH_BYTES = 2**30
MOST_SAMPLES = 2000  # of a batch: more of them save nothing
FEWEST_SAMPLES = 16
_ALIVE = 3  # an operation's input and output, and what it takes to compute


@dataclass(frozen=True)
class Keeper:
    """Keeps the reductions of each layer's activations, and the maps of chosen samples.

    Attributes
    ----------
    network
        The network that runs.
    reductions
        Of :data:`unitlens.model.layers.REDUCTIONS`.
    dtype
        Of the store.
    maps
        Feature maps to keep.
    """

    network: UnitNetwork
    reductions: Sequence[str]
    dtype: str
    maps: FeatureMaps | None = None

    def keep(
        self, layer: UnitLayer, activation: Tensor, mapped: NDArray[np.int64]
    ) -> dict[str, Tensor]:
        """Return each array of the layer that is stored by its name.

        Parameters
        ----------
        layer
            The layer.
        activation
            Its activation, (samples, ...).
        mapped
            Which of these samples have their maps kept.

        Returns
        -------
        Reductions (samples, units), and maps (samples, units, ...) of some.

        Raises
        ------
        StoreError
            Where the store's type does not hold a value.
        """
        kept = {}
        for name, reduction in layer_arrays(layer, self.reductions).items():
            values = reduce_positions(activation, layer, reduction)
            values = self._stored(layer, values)
            # The values of a program never change, those of a plain module may, in place.
            changes = self.network.program is None and same_storage(values, activation)
            kept[name] = values.clone() if changes else values
        if self.maps is not None and layer.name in self.maps.positions:
            chosen = activation[torch.from_numpy(mapped)]  # a copy
            kept[MAP] = self._stored(layer, chosen.movedim(layer.axis, 1))
        return kept

    def _stored(self, layer: UnitLayer, values: Tensor) -> Tensor:
        dtype = getattr(torch, self.dtype)
        largest = torch.finfo(dtype).max
        if torch.finfo(values.dtype).max <= largest:
            return values.to(dtype)
        over = (values.abs() > largest) & values.isfinite()
        if over.any():
            wider = "record as float32" if self.dtype == "float16" else "scale it down"
            raise StoreError(
                f"an activation of layer '{layer.name}' is {values[over][0].item():g}, but "
                f"{self.dtype} holds no more than {largest:g}; {wider}"
            )
        return values.to(dtype)


def suitable_batch(network: UnitNetwork, example: Tensor) -> int:
    """Return how many samples a pass had best hold: so many as the caches of a CPU hold.

    Parameters
    ----------
    network
        The network, entered.
    example
        A few inputs.
    """
    sizes = [example[0].nbytes]
    sizes += [layer.units * layer.positions * network.dtype.itemsize for layer in network.layers]
    allowed = BATCH_BYTES if network.device.type == "cpu" else DEVICE_BATCH_BYTES
    return min(MOST_SAMPLES, max(FEWEST_SAMPLES, allowed // (_ALIVE * max(sizes))))
