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
from unitlens.store.format.layout import ACTIVATION, Layout, plan_arrays
from unitlens.store.format.manifest import Contents
from unitlens.store.format.parts import Part

Reduce = Callable[[UnitLayer, Tensor], Any]


class ElementRecording:
    """The moments of the elements of each layer with maps, summed shard by shard.

    The moments of a shard are in the file before its last samples are appended to the store: what
    a killed recording need not run again has its moments.

    Parameters
    ----------
    place
        The file.
    contents
        Contents of the store.
    rows
        Samples of each shard that is recorded now, by the name of the layer and the number of the
        shard.
    """

    def __init__(
        self, place: Path, contents: Contents, rows: Mapping[str, Mapping[int, slice]]
    ) -> None:
        self._place, self._contents, self._rows = place, contents, rows
        kept = read_elements(place, contents)
        self._complete: dict[str, dict[int, ElementMoments]] = {
            name: {s: moments for s, moments in kept.get(name, {}).items() if s not in of_layer}
            for name, of_layer in rows.items()
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
    layers: Sequence[UnitLayer],
    missing: NDArray[np.bool_],
    layout: Layout,
    part: Part,
) -> ElementRecording | None:
    """Return what sums the moments of the elements of a recording; None where no layer has maps.

    Parameters
    ----------
    path
        The store.
    contents
        Contents of the store.
    layers
        The recorded layers.
    missing
        Of each sample, whether it runs.
    layout
        Bytes of chunks and shards that the store aims at.
    part
        Part of the shards that is recorded.
    """
    if contents.of_positions:
        return None
    arrays = plan_arrays(contents.layers, contents.samples, contents.dtype, layout)
    by_path = {array.path: array for array in arrays}
    rows: dict[str, dict[int, slice]] = {}
    for layer in filter(has_maps, layers):
        array = by_path[f"{layer.name}/{ACTIVATION}"]
        of_part = {shard: array.rows(shard) for shard in part.shards(array)}
        rows[layer.name] = {shard: of for shard, of in of_part.items() if missing[of].all()}
    return ElementRecording(element_file(path, part), contents, rows) if rows else None
