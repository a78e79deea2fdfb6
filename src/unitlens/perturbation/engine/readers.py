"""Readers: operations that are linear in a layer, whose outputs are updated, not run again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from unitlens.model.graph import Program
from unitlens.model.layers import UnitLayer
from unitlens.model.observation import Observation, select_samples
from unitlens.model.operations import function_name
from unitlens.model.rewriting import is_patched
from unitlens.perturbation.engine.convolution_updates import subtract_convolved
from unitlens.perturbation.engine.row_batches import RowBatch, product_in_place

CONVOLVE = {
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
    nn.Conv3d: functional.conv3d,
}
_AVERAGES = (
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
_AVERAGING = frozenset(
    (
        *("avg_pool1d", "avg_pool2d", "avg_pool3d"),
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    )
)
_FLATTENING = frozenset(("flatten", "view", "reshape"))


@dataclass(frozen=True)
class PerturbedPairs:
    """Pairs of a direction and a sample that are the rows of one batch, sorted by direction.

    Attributes
    ----------
    directions, samples
        Number of the direction and of the sample of each pair, (pairs,).
    coefficients
        Coefficient with which the direction is subtracted, (pairs, positions ...).
    count
        Number of pairs before those that fill the batch up to a step.
    """

    directions: Tensor
    samples: Tensor
    coefficients: Tensor
    count: int

    @classmethod
    def of_batch(
        cls, batch: RowBatch, directions: Tensor, samples: Tensor, coefficients: Tensor
    ) -> "PerturbedPairs":
        """Return the pairs of a batch.

        Parameters
        ----------
        batch
            The batch.
        directions, samples
            Number of the direction and of the sample of each of all pairs, (pairs,).
        coefficients
            Coefficients of all directions and samples, (directions, samples, positions ...).
        """
        pairs = directions[batch.rows], samples[batch.rows]
        return cls(*pairs, coefficients[pairs], batch.count)

    def __len__(self) -> int:
        return len(self.samples)

    def split(self, size: int) -> "Iterator[PerturbedPairs]":
        """Yield the rows in pieces of at most `size`."""
        for start in range(0, len(self), size):
            some = slice(start, start + size)
            count = min(max(self.count - start, 0), size)
            fields = self.directions[some], self.samples[some], self.coefficients[some]
            yield PerturbedPairs(*fields, count)

    def segments(self) -> Iterator[tuple[int, slice]]:
        """Yield each direction and the slice of its rows, but for those that fill the batch."""
        directions = self.directions[: self.count]
        numbers, counts = torch.unique_consecutive(directions, return_counts=True)
        start = 0
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            yield number, slice(start, start + count)
            start += count


@dataclass(frozen=True)
class LayerReader:
    """A dense or convolutional operation that reads a layer, and is linear in it.

    Attributes
    ----------
    node, module
        The operation.
    program, pools
        The network's program, and its averages over positions between the layer and the operation.
    by_position
        Whether the operation works at each position by itself: a dense operation on the axis of
        the units.
    by_sample
        Whether there is a single position, so that the output is one row per sample.
    """

    node: fx.Node
    module: Any
    program: Program
    pools: tuple[fx.Node, ...]
    by_position: bool
    by_sample: bool

    @property
    def by_direction(self) -> bool:
        """Whether the numbers of a row depend on the rows of the same direction in its batch."""
        return isinstance(self.module, nn.Linear) and not self.by_position

    def columns(
        self, layer: UnitLayer, directions: Tensor | None, places: Tensor | None = None
    ) -> Tensor:
        """Return the change of the output per unit of each direction.

        Parameters
        ----------
        layer
            The layer.
        directions
            Directions (directions, units), or numbers of units (directions,); all units if None.
        places
            Place of each direction (directions, units) in the whole of which they are a part.

        Returns
        -------
        Of a dense operation (directions, out) or, where it reads flattened positions,
        (directions, positions, out). Of a convolution (directions, out, 1, kernel ...), with the
        outputs of the direction's group alone where there are several groups.
        """
        weight = self.module.weight.detach()
        if isinstance(self.module, nn.Linear):
            if self.by_position:
                by_unit = weight.t()
            else:
                by_unit = weight.t().reshape(layer.units, -1, len(weight))
        else:
            by_group = weight.unflatten(0, (self.module.groups, -1)).transpose(1, 2)
            by_unit = by_group.flatten(0, 1).unsqueeze(2)
        columns: Tensor = by_unit
        if directions is not None and directions.dim() == 1:
            columns = by_unit.index_select(0, directions)
        elif directions is not None and places is not None:
            flat = product_in_place(directions, by_unit.flatten(1), places)
            columns = flat.reshape(len(directions), *by_unit.shape[1:])
        return columns.contiguous()

    def fits_directions(self) -> bool:
        """Tell whether directions that mix all units stay within one group of channels."""
        return isinstance(self.module, nn.Linear) or self.module.groups == 1

    def updated(self, output: Tensor, pairs: PerturbedPairs, columns: Tensor) -> Tensor:
        """Return the operation's output for perturbed pairs, from its unperturbed output.

        Parameters
        ----------
        output
            Output in the unperturbed network, (samples, ...).
        pairs
            The pairs of a direction and a sample.
        columns
            Change of the output per unit of each direction, from :meth:`columns`.
        """
        pooled = replace(pairs, coefficients=self.pooled(pairs.coefficients))
        if isinstance(self.module, nn.Linear):
            return self._update_dense(output, pooled, columns)
        return self._update_convolution(output, pooled, columns)

    def pooled(self, coefficients: Tensor) -> Tensor:
        """Return coefficients (pairs, positions ...) averaged as the layer is before the reader."""
        if not self.pools:
            return coefficients
        return by_channel(self.program, self.pools, coefficients.unsqueeze(1)).squeeze(1)

    def _update_dense(self, output: Tensor, pairs: PerturbedPairs, columns: Tensor) -> Tensor:
        rows = select_samples(output, 0, pairs.samples)
        coefficients = pairs.coefficients
        if self.by_position:
            coefficients = coefficients.reshape(rows.shape[:-1])
            of_rows = columns.index_select(0, pairs.directions)
            of_rows = of_rows.reshape(len(rows), *[1] * (rows.dim() - 2), -1)
            return rows.addcmul_(coefficients.unsqueeze(-1), of_rows, value=-1)
        flat = coefficients.flatten(1)
        for number, segment in pairs.segments():
            rows[segment].addmm_(flat[segment], columns[number], alpha=-1)
        return rows

    def _update_convolution(self, output: Tensor, pairs: PerturbedPairs, columns: Tensor) -> Tensor:
        rows, maps = select_samples(output, 0, pairs.samples), pairs.coefficients
        groups = self.module.groups
        if groups == 1:
            subtract_convolved(rows, maps, columns, pairs.directions, self.module)
            return rows
        by_group = torch.unflatten(rows, 1, (groups, -1))
        of_row = torch.arange(len(rows), device=rows.device)
        group = pairs.directions // (self.module.in_channels // groups)
        changed = by_group[of_row, group]
        subtract_convolved(changed, maps, columns, pairs.directions, self.module)
        by_group[of_row, group] = changed
        return rows


def find_readers(
    program: Program, observation: Observation, node: fx.Node, layer: UnitLayer
) -> dict[fx.Node, LayerReader]:
    """Return the readers of a layer: only averages and flattening lie between it and them.

    Parameters
    ----------
    program, observation
        The network's program, and its values on an example.
    node, layer
        The layer and its node.
    """
    readers: dict[fx.Node, LayerReader] = {}
    paths: list[tuple[fx.Node, tuple[fx.Node, ...], bool]] = [(node, (), False)]
    while paths:
        place, pools, flat = paths.pop()
        for user in place.users:
            if user in readers or not _is_first_input(user, place):
                continue
            module = program.modules.get(user)
            plain = module is not None and not is_patched(module)
            if plain and type(module) in (nn.Linear, *CONVOLVE):
                reader = _reader(program, observation, user, layer, (place, pools, flat))
                if reader is not None:
                    readers[user] = reader
            elif not flat and layer.axis == 1 and averages(program, observation, place, user):
                paths.append((user, (*pools, user), flat))
            elif not flat and layer.axis == 1 and flattens(program, observation, place, user):
                paths.append((user, pools, True))
    return readers


def _reader(
    program: Program,
    observation: Observation,
    node: fx.Node,
    layer: UnitLayer,
    path: tuple[fx.Node, tuple[fx.Node, ...], bool],
) -> LayerReader | None:
    """Return the reader at a node, None where the operation is not linear in single units.

    Parameters
    ----------
    program, observation
        The network's program, and its values on an example.
    node
        Node of a dense or convolutional operation.
    layer
        The layer.
    path
        Node that the operation reads, averages between the layer and it, and whether positions are
        flattened.
    """
    place, pools, flat = path
    module: Any = program.modules[node]
    before: Tensor = observation.two[place]
    if isinstance(module, nn.Linear):
        on_units = before.dim() == 2 or layer.axis == -1
        if flat or on_units:
            single = before[0].numel() == layer.units
            by_position = not flat or single
            return LayerReader(node, module, program, pools, by_position, by_sample=single)
        return None
    maps = before.dim() == module.weight.dim() and layer.axis == 1 and not flat
    padded = module.padding_mode == "zeros"
    if not maps or not padded:
        return None
    return LayerReader(node, module, program, pools, by_position=False, by_sample=False)


def _is_first_input(user: fx.Node, place: fx.Node) -> bool:
    """Tell whether a node is the first argument of an operation, and no other argument."""
    return (
        user.op != "output"
        and bool(user.args)
        and user.args[0] is place
        and list(user.args).count(place) == 1
    )


def averages(program: Program, observation: Observation, place: fx.Node, user: fx.Node) -> bool:
    """Tell whether an operation averages each map over positions, over some or all of them."""
    module = program.modules.get(user)
    if module is not None:
        return type(module) in _AVERAGES and not is_patched(module)
    called = user.op in ("call_function", "call_method") and user.all_input_nodes == [place]
    if not called or observation.two[place].dim() < 3:
        return False
    name = function_name(user.target)
    if name != "mean":
        return name in _AVERAGING
    dims = user.args[1] if len(user.args) > 1 else user.kwargs.get("dim")
    axes = observation.two[place].dim()
    averaged = {dim % axes for dim in dims} if isinstance(dims, list | tuple) else set()
    return averaged == set(range(2, axes)) and "dtype" not in user.kwargs


def by_channel(program: Program, nodes: Sequence[fx.Node], values: Tensor) -> Tensor:
    """Run operations that work on each channel by itself, on some channels only."""
    for node in nodes:
        values = program.compute(node, {node.all_input_nodes[0]: values})
    return values


def flattens(program: Program, observation: Observation, place: fx.Node, user: fx.Node) -> bool:
    """Tell whether an operation flattens maps to one row per sample, channels by positions."""
    flattening = isinstance(program.modules.get(user), nn.Flatten) or (
        user.op in ("call_function", "call_method") and function_name(user.target) in _FLATTENING
    )
    before, after = observation.two[place], observation.two[user]
    if not (flattening and isinstance(after, Tensor) and before.dim() > 2):
        return False
    return bool(after.shape == (before.shape[0], before[0].numel()))
