"""The moments of the elements of feature maps, summed in the pass that records activations."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unitlens.model.element_sums import element_moments, has_maps
from unitlens.model.layers import UnitLayer
from unitlens.store.element_file import element_file, read_elements, write_elements
from unitlens.store.element_moments import ElementMoments, join_moments, moments_of
from unitlens.store.format.layout import StoredArray
from unitlens.store.format.manifest import Contents
from unitlens.store.format.parts import Part

Reduce = Callable[[UnitLayer, Tensor], Any]


class ElementRecording:
    """The moments of the elements of each layer with maps, summed shard by shard.

    The moments of a shard are in the file before its last samples are appended to the store: what
    a killed recording need not run again has its moments.

    Parameters
    ----------
    path
        The store.
    contents
        Contents of the store.
    part
        Part of the shards that is recorded.
    lacking
        The array of each layer with maps, and its shards that are recorded now.
    """

    def __init__(
        self,
        path: Path,
        contents: Contents,
        part: Part,
        lacking: Mapping[str, tuple[StoredArray, Sequence[int]]],
    ) -> None:
        self._place, self._contents = element_file(path, part), contents
        self._rows = {
            name: {shard: array.rows(shard) for shard in shards}
            for name, (array, shards) in lacking.items()
        }
        kept = read_elements(self._place, contents)
        self._complete: dict[str, dict[int, ElementMoments]] = {
            name: {s: of for s, of in kept.get(name, {}).items() if s not in rows}
            for name, rows in self._rows.items()
        }
        self._growing: dict[tuple[str, int], ElementMoments] = {}

    def observed(self, reduce: Reduce, rows: NDArray[np.int64]) -> Reduce:
        """Return a reduction that takes the activations which it reduces into account.

        Parameters
        ----------
        reduce
            The reduction.
        rows
            Numbers of the samples of the activations, in their order without gaps.
        """

        def observe(layer: UnitLayer, activation: Tensor) -> Any:
            if layer.name in self._rows:
                self._add(layer, activation, int(rows[0]))
            return reduce(layer, activation)

        return observe

    def _add(self, layer: UnitLayer, activation: Tensor, first: int) -> None:
        for shard, rows in self._rows[layer.name].items():
            begin, end = max(rows.start, first), min(rows.stop, first + len(activation))
            if begin >= end:
                continue
            groups = element_moments(layer, activation[begin - first : end - first])
            key = (layer.name, shard)
            known = [self._growing[key]] if key in self._growing else []
            self._growing[key] = join_moments([*known, *moments_of(groups.cpu().numpy())])

    def save(self, seen: int) -> None:
        """Write the moments of those shards that are complete, where there are new ones.

        Parameters
        ----------
        seen
            Number of the sample behind the last one that was taken into account.
        """
        complete = [key for key in self._growing if self._rows[key[0]][key[1]].stop <= seen]
        for name, shard in complete:
            self._complete[name][shard] = self._growing.pop((name, shard))
        if complete:
            write_elements(self._place, self._contents, self._complete)


def element_recording(
    path: Path,
    contents: Contents,
    part: Part,
    layers: Sequence[UnitLayer],
    lacking: Mapping[str, tuple[StoredArray, Sequence[int]]],
) -> ElementRecording | None:
    """Return what sums the moments of the elements of a recording; None where no layer has maps.

    Parameters
    ----------
    path
        The store.
    contents
        Contents of the store.
    part
        Part of the shards that is recorded.
    layers
        The recorded layers.
    lacking
        Path of each array to the array and to its shards that are recorded now.
    """
    of_maps = {
        layer.name: lacking[f"{layer.name}/activation"] for layer in layers if has_maps(layer)
    }
    if contents.of_positions or not any(shards for _, shards in of_maps.values()):
        return None
    return ElementRecording(path, contents, part, of_maps)
