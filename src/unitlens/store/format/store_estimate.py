"""The estimate of a store: bytes, files and memory of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass

from unitlens.store.format.layout import (
    DEFAULT_LAYOUT,
    FeatureMaps,
    LayerLike,
    Layout,
    plan_arrays,
    plan_ranges,
)
from unitlens.store.write_queue import PENDING_BYTES

# Of each array, beside the bands that wait: the band that is filled, and a chunk being written.
BANDS = 2
FILES_BESIDE_A_STORE = 3


@dataclass(frozen=True)
class StoreEstimate:
    """The resources that a recording takes.

    Attributes
    ----------
    bytes
        Bytes of the numbers before compression.
    files
        Number of files of the store and beside it.
    memory
        Bytes of memory for buffers, beside the network and a batch.
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
    layers: Sequence[LayerLike],
    samples: int,
    *,
    dtype: str = "float32",
    layout: Layout = DEFAULT_LAYOUT,
    reductions: Sequence[str] = ("mean",),
    maps: FeatureMaps | None = None,
    positions: bool = False,
) -> StoreEstimate:
    """Estimate the store of these layers over a number of samples.

    Parameters
    ----------
    layers
        Layers, as :func:`unitlens.unit_layers` lists them.
    samples
        Number of samples.
    dtype
        Dtype of the activations on disk.
    layout
        Bytes of chunks and shards that the store aims at.
    reductions
        Reductions of each activation that are kept.
    maps
        Feature maps that are kept.
    positions
        Whether samples are positions of items.

    Raises
    ------
    ArgumentError
        Where there is no layer or no sample, or activations are not stored in `dtype`.
    """
    filled = plan_arrays(
        layers, samples, dtype, layout, reductions=reductions, maps=maps, positions=positions
    )
    arrays = (*filled, *plan_ranges(layers, dtype))
    groups = 1 + len(layers)
    bands = [array.band_nbytes for array in filled]
    # One file more has the moments of the elements of feature maps.
    beside = FILES_BESIDE_A_STORE + (not positions and any(of.positions > 1 for of in layers))
    return StoreEstimate(
        bytes=sum(array.nbytes for array in arrays),
        files=sum(array.shard_count + 1 for array in arrays) + groups + beside,
        memory=BANDS * sum(bands) + PENDING_BYTES,
    )


def _readable(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
