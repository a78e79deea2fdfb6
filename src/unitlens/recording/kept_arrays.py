"""The arrays that are kept of an activation: reductions and maps, in the dtype of the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unitlens.errors import StoreError
from unitlens.model.graph import same_storage
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer, reduce_positions
from unitlens.model.network import UnitNetwork
from unitlens.store.format.layout import MAP, FeatureMaps, layer_arrays

BATCH_BYTES = 64 * 2**20  # of the values around a layer, on a CPU: somewhat above its caches
DEVICE_BATCH_BYTES = 2**30
MOST_SAMPLES = 2000  # of a batch: larger batches are not faster
FEWEST_SAMPLES = 16
_ALIVE = 3  # tensors around an operation: its input, its output, its scratch


@dataclass(frozen=True)
class ActivationReducer:
    """Reduces the activations of layers to the arrays of a store.

    Attributes
    ----------
    network
        The network that runs.
    reductions
        Reductions to keep, of :data:`unitlens.model.layers.REDUCTIONS`.
    dtype
        Dtype of the store.
    maps
        Feature maps to keep.
    """

    network: UnitNetwork
    reductions: Sequence[str]
    dtype: str
    maps: FeatureMaps | None = None

    def reduce(
        self, layer: UnitLayer, activation: Tensor, map_rows: NDArray[np.int64]
    ) -> dict[str, Tensor]:
        """Return the stored arrays of a layer by their names.

        Parameters
        ----------
        layer
            The layer.
        activation
            Its activation, (samples, ...).
        map_rows
            Rows of the activation whose maps are kept.

        Returns
        -------
        Reductions (samples, units), and ``map`` (map samples, units, ...) where maps are kept.

        Raises
        ------
        StoreError
            Where a finite value is beyond the range of the store's dtype.
        """
        arrays = {}
        for name, reduction in layer_arrays(layer, self.reductions).items():
            values = reduce_positions(activation, layer, reduction)
            values = self._cast(layer, values)
            # A traced program never changes its values in place, but a plain module may.
            may_change = self.network.program is None and same_storage(values, activation)
            arrays[name] = values.clone() if may_change else values
        if self.maps is not None and layer.name in self.maps.positions:
            maps = activation[torch.from_numpy(map_rows)]  # a copy
            arrays[MAP] = self._cast(layer, maps.movedim(layer.axis, 1))
        return arrays

    def _cast(self, layer: UnitLayer, values: Tensor) -> Tensor:
        dtype = getattr(torch, self.dtype)
        largest = torch.finfo(dtype).max
        if torch.finfo(values.dtype).max <= largest:
            return values.to(dtype)
        too_large = (values.abs() > largest) & values.isfinite()
        if too_large.any():
            remedy = "record as float32" if self.dtype == "float16" else "scale it down"
            raise StoreError(
                f"an activation of layer '{layer.name}' is {values[too_large][0].item():g}, but "
                f"{self.dtype} holds no more than {largest:g}; {remedy}"
            )
        return values.to(dtype)


def suitable_batch(network: UnitNetwork, example: AnyInputs) -> int:
    """Return the number of samples whose values around a layer fit into the caches of a CPU.

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
