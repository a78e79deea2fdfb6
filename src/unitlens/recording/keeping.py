"""What is kept of an activation: its reductions, in the type of the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unitlens.errors import StoreError
from unitlens.networks.graph import same_storage
from unitlens.networks.layers import UnitLayer, UnitNetwork, reduce_positions
from unitlens.store.layout import layer_arrays

BATCH_BYTES = 64 * 2**20  # of the values around a layer, on a CPU: some more than its caches hold
DEVICE_BATCH_BYTES = 2**30
MOST_SAMPLES = 2000  # of a batch: more of them save nothing
FEWEST_SAMPLES = 16
_ALIVE = 3  # an operation's input and output, and what it takes to compute


@dataclass(frozen=True)
class Keeper:
    """Keeps the reductions of each layer's activations.

    Attributes
    ----------
    network
        The network that runs.
    reductions
        Of :data:`unitlens.networks.layers.REDUCTIONS`.
    dtype
        Of the store.
    """

    network: UnitNetwork
    reductions: Sequence[str]
    dtype: str

    def keep(self, layer: UnitLayer, activation: Tensor) -> dict[str, Tensor]:
        """Return each array of the layer that is stored, (samples, units), by its name.

        Raises
        ------
        StoreError
            Where the store's type does not hold a value.
        """
        kept = {}
        for name, reduction in layer_arrays(layer, self.reductions).items():
            values = reduce_positions(activation, layer, reduction)
            self._check(layer, values)
            values = values.to(getattr(torch, self.dtype))
            # The values of a program never change, those of a plain module may, in place.
            changes = self.network.program is None and same_storage(values, activation)
            kept[name] = values.clone() if changes else values
        return kept

    def _check(self, layer: UnitLayer, values: Tensor) -> None:
        largest = torch.finfo(getattr(torch, self.dtype)).max
        if torch.finfo(values.dtype).max <= largest:
            return
        over = (values.abs() > largest) & values.isfinite()
        if over.any():
            wider = "record as float32" if self.dtype == "float16" else "scale it down"
            raise StoreError(
                f"an activation of layer '{layer.name}' is {values[over][0].item():g}, but "
                f"{self.dtype} holds no more than {largest:g}; {wider}"
            )


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
