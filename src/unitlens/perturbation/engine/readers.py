"""A convolution subtracted from rows in one pass over them, by oneDNN."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from unitlens.model.graph import Program
from unitlens.model.layers import UnitLayer
from unitlens.model.observation import Observation, take
from unitlens.model.operations import function_name
from unitlens.model.rewriting import is_watched

_NAME = "_convolution_pointwise_"  # of the operation that torch's own compiler calls for this


def subtracts_at_once(module: Any) -> bool:
    """Tell whether :func:`subtract_convolved` does what one module's convolution does.

    It does so of two dimensions in float32 on a CPU, outside of autocast. Where this PyTorch has
    no such operation, it does nowhere.
    """
    if type(module) is not nn.Conv2d or isinstance(module.padding, str) or module.groups > 1:
        return False
    weight = module.weight
    fitting = weight.device.type == "cpu" and weight.dtype == torch.float32
    built = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    known = built and hasattr(torch.ops.mkldnn, _NAME)
    return fitting and known and not torch.is_autocast_enabled("cpu")


def subtract_convolved(rows: Tensor, maps: Tensor, weight: Tensor, module: nn.Conv2d) -> None:
    """Subtract from `rows`, in place, what a module's convolution makes of `maps`.

    Parameters
    ----------
    rows
        Shape (rows, out, positions ...).
    maps
        Shape (rows, in, positions ...).
    weight
        Shape (out, in, kernel ...), in place of the module's own; no bias.
    module
        The convolution: stride, padding, dilation.
    """
    subtract = getattr(torch.ops.mkldnn, _NAME).binary
    subtract(
        rows, maps.neg(), weight.to_mkldnn(), None,
        module.padding, module.stride, module.dilation, 1, "add", 1.0, None, [], None,
    )  # fmt: skip


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
class ChangedRows:
    """What is taken away from activations: rows of one folded batch, sorted by direction.

    Attributes
    ----------
    directions, samples
        Which direction and which sample a row is of.
    coefficients
        How much is taken away along the direction, (rows, positions ...).
    """

    directions: Tensor
    samples: Tensor
    coefficients: Tensor

    def segments(self) -> Iterator[tuple[int, slice]]:
        """Yield each direction and the slice of its rows."""
        numbers, counts = torch.unique_consecutive(self.directions, return_counts=True)
        start = 0
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            yield number, slice(start, start + count)
            start += count


@dataclass(frozen=True)
class LayerReader:
    """An operation that is linear in a layer.

    Attributes
    ----------
    node, module
        The operation.
    program, pools
        The network's program, and its averages over positions between the layer and it.
    by_position
        Whether it works at each position by itself: a dense layer on the axis of the units.
    by_sample
        Whether there is a single position, so that it puts out one row a sample.
    """

    node: fx.Node
    module: Any
    program: Program
    pools: tuple[fx.Node, ...]
    by_position: bool
    by_sample: bool

    def columns(self, layer: UnitLayer, directions: Tensor | None) -> Tensor:
        """Return what one unit of each direction does to the output.

        Parameters
        ----------
        layer
            The layer.
        directions
            Shape (directions, units), or integers: numbers of units, (directions,); all units
            themselves if None.

        Returns
        -------
        Of a dense operation (directions, out) or, where it reads flattened positions,
        (directions, positions, out); of a convolution (directions, out, 1, kernel ...), with the
        `out` of its group alone where there are several.
        """
        weight = self.module.weight.detach()
        if isinstance(self.module, nn.Linear):
            if self.by_position:
                columns = weight.t()
            else:
                columns = weight.t().reshape(layer.units, -1, len(weight))
        else:
            by_group = weight.unflatten(0, (self.module.groups, -1)).transpose(1, 2)
            columns = by_group.flatten(0, 1).unsqueeze(2)
        chosen: Tensor = columns
        if directions is not None and directions.dim() == 1:
            chosen = columns.index_select(0, directions)
        elif directions is not None:
            chosen = torch.tensordot(directions, columns, 1)
        return chosen.contiguous()

    def fits_directions(self) -> bool:
        """Tell whether directions that mix all units stay within one group of channels."""
        return isinstance(self.module, nn.Linear) or self.module.groups == 1

    def updated(self, output: Tensor, changes: ChangedRows, columns: Tensor) -> Tensor:
        """Return the operation's output for the rows of `changes`, from its output as it is.

        Parameters
        ----------
        output
            Of the network as it is, (samples, ...).
        changes
            The rows.
        columns
            As :meth:`columns` gives them.
        """
        pooled = replace(changes, coefficients=self.pooled(changes.coefficients))
        if isinstance(self.module, nn.Linear):
            return self._dense(output, pooled, columns)
        return self._convolved(output, pooled, columns)

    def pooled(self, coefficients: Tensor) -> Tensor:
        """Average coefficients (rows, positions ...) as the layer is before it is read."""
        if not self.pools:
            return coefficients
        return by_channel(self.program, self.pools, coefficients.unsqueeze(1)).squeeze(1)

    def _dense(self, output: Tensor, changes: ChangedRows, columns: Tensor) -> Tensor:
        rows = take(output, 0, changes.samples)
        coefficients = changes.coefficients
        if self.by_position:
            coefficients = coefficients.reshape(rows.shape[:-1])
            of_rows = columns.index_select(0, changes.directions)
            of_rows = of_rows.reshape(len(rows), *[1] * (rows.dim() - 2), -1)
            return rows.addcmul_(coefficients.unsqueeze(-1), of_rows, value=-1)
        flat = coefficients.flatten(1)
        for number, segment in changes.segments():
            rows[segment].addmm_(flat[segment], columns[number], alpha=-1)
        return rows

    def _convolved(self, output: Tensor, changes: ChangedRows, columns: Tensor) -> Tensor:
        module, convolve = self.module, CONVOLVE[type(self.module)]
        rows = take(output, 0, changes.samples)
        maps = changes.coefficients.unsqueeze(1)
        width, group = columns.shape[1], module.in_channels // module.groups
        at_once = subtracts_at_once(module)
        for number, segment in changes.segments():
            if at_once:
                subtract_convolved(rows[segment], maps[segment], columns[number], module)
                continue
            change = convolve(
                maps[segment], columns[number], None,
                stride=module.stride, padding=module.padding, dilation=module.dilation,
            )  # fmt: skip
            first = number // group * width if module.groups > 1 else 0
            rows[segment, first : first + width].sub_(change)
        return rows


def find_readers(
    program: Program, observation: Observation, node: fx.Node, layer: UnitLayer
) -> dict[fx.Node, LayerReader]:
    """Find the operations that read a layer through nothing but averages and flattening."""
    found: dict[fx.Node, LayerReader] = {}
    paths: list[tuple[fx.Node, tuple[fx.Node, ...], bool]] = [(node, (), False)]
    while paths:
        place, pools, flat = paths.pop()
        for user in place.users:
            if user in found or not _reads_only(user, place):
                continue
            module = program.modules.get(user)
            plain = module is not None and not is_watched(module)
            if plain and type(module) in (nn.Linear, *CONVOLVE):
                reader = _reader(program, observation, user, layer, (place, pools, flat))
                if reader is not None:
                    found[user] = reader
            elif not flat and layer.axis == 1 and averages(program, observation, place, user):
                paths.append((user, (*pools, user), flat))
            elif not flat and layer.axis == 1 and flattens(program, observation, place, user):
                paths.append((user, pools, True))
    return found


def _reader(
    program: Program,
    observation: Observation,
    node: fx.Node,
    layer: UnitLayer,
    path: tuple[fx.Node, tuple[fx.Node, ...], bool],
) -> LayerReader | None:
    place, pools, flat = path
    module: Any = program.modules[node]
    before: Tensor = observation.two[place]
    if isinstance(module, nn.Linear):
        on_units = before.dim() == 2 or layer.axis == -1
        if flat or on_units:
            one = before[0].numel() == layer.units
            by_position = not flat or one
            return LayerReader(node, module, program, pools, by_position, by_sample=one)
        return None
    maps = before.dim() == module.weight.dim() and layer.axis == 1 and not flat
    padded = module.padding_mode == "zeros"
    if not maps or not padded:
        return None
    return LayerReader(node, module, program, pools, by_position=False, by_sample=False)


def _reads_only(user: fx.Node, place: fx.Node) -> bool:
    """Tell whether a node is read as the one input, beside sizes, of an operation."""
    return bool(user.args) and user.args[0] is place and list(user.args).count(place) == 1


def averages(program: Program, observation: Observation, place: fx.Node, user: fx.Node) -> bool:
    """Tell whether a node averages each map over positions, some or all."""
    module = program.modules.get(user)
    if module is not None:
        return type(module) in _AVERAGES and not is_watched(module)
    called = user.op in ("call_function", "call_method") and user.all_input_nodes == [place]
    if not called or observation.two[place].dim() < 3:
        return False
    name = function_name(user.target)
    if name != "mean":
        return name in _AVERAGING
    dims = user.args[1] if len(user.args) > 1 else user.kwargs.get("dim")
    every = observation.two[place].dim()
    given = {dim % every for dim in dims} if isinstance(dims, list | tuple) else set()
    return given == set(range(2, every)) and "dtype" not in user.kwargs


def by_channel(program: Program, nodes: Sequence[fx.Node], values: Tensor) -> Tensor:
    """Run operations that treat each channel by itself on some of the channels."""
    for node in nodes:
        values = program.compute(node, {node.all_input_nodes[0]: values})
    return values


def flattens(program: Program, observation: Observation, place: fx.Node, user: fx.Node) -> bool:
    """Tell whether a node makes one row a sample of maps, (samples, channels x positions)."""
    flattening = isinstance(program.modules.get(user), nn.Flatten) or (
        user.op in ("call_function", "call_method") and function_name(user.target) in _FLATTENING
    )
    before, after = observation.two[place], observation.two[user]
    if not (flattening and isinstance(after, Tensor) and before.dim() > 2):
        return False
    return bool(after.shape == (before.shape[0], before[0].numel()))
