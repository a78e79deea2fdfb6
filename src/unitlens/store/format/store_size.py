"""What a recording will take."""

from collections.abc import Sequence
from dataclasses import dataclass

from unitlens.store.format.layout import (
    DEFAULT_LAYOUT,
    FeatureMaps,
    LayerShape,
    Layout,
    plan_arrays,
    plan_ranges,
)
from unitlens.store.write_queue import PENDING_BYTES

# Of each array, beside what waits: the band that is filled, and a chunk on its way to the disk.
BANDS = 2
FILES_BESIDE_A_STORE = 3


@dataclass(frozen=True)
class StoreSize:
    """What a recording will take.

    `bytes` of the numbers before compression, `files` of the store and beside it, and bytes of
    `memory` for buffers, beside the network and a batch.
    """

    bytes: int
    files: int
    memory: int

    def __str__(self) -> str:
        return (
            f"{_readable(self.bytes)} before compression in {self.files:,} files, "
            f"{_readable(self.memory)} of memory for buffers"
        )


def estimate_store(
    layers: Sequence[LayerShape],
    samples: int,
    *,
    dtype: str = "float32",
    layout: Layout = DEFAULT_LAYOUT,
    reductions: Sequence[str] = ("mean",),
    maps: FeatureMaps | None = None,
) -> StoreSize:
    """Return what a store of these layers over so many samples will take.

    Parameters
    ----------
    layers
        Layers, as :func:`unitlens.unit_layers` lists them.
    samples
        Number of samples.
    dtype
        Of the activations on disk.
    layout
        Sizes that the store aims at.
    reductions
        What is kept of each layer.
    maps
        Feature maps that are kept.

    Raises
    ------
    ArgumentError
        Where there is no layer or no sample, or the dtype is none that is stored.
    """
    filled = plan_arrays(layers, samples, dtype, layout, reductions=reductions, maps=maps)
    arrays = (*filled, *plan_ranges(layers, dtype))
    groups = 1 + len(layers)
    bands = [array.band_nbytes for array in filled]
    return StoreSize(
        bytes=sum(array.nbytes for array in arrays),
        files=sum(array.shard_count + 1 for array in arrays) + groups + FILES_BESIDE_A_STORE,
        memory=BANDS * sum(bands) + PENDING_BYTES,
    )


def _readable(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
