"""Observation of a traced network on two and three samples: batch axes, memory, overwriting."""

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from unitlens.model.graph import Program, Values, same_storage
from unitlens.model.inputs import AnyInputs
from unitlens.model.memory_watch import MemoryWatch, PassMemory

_OUT_OF_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}

# A function of a value and of sample indices (rows,): the value of these samples.
SampleGather = Callable[[Any, Tensor], Any]


class UntraceableError(Exception):
    """The graph of a model does not compute what the model does; the text says why."""


class BatchAxisError(Exception):
    """The samples of a value do not lie on one axis of it; the text says why."""


@dataclass(frozen=True)
class Observation:
    """The values of all nodes on two and on three samples, and their memory.

    Attributes
    ----------
    two
        Value of each node on two samples, as meta tensors.
    three
        Value of each node on three samples.
    memory
        Bytes of each sample in a pass.
    scratch
        Bytes for each sample that each node needs beside its input and output.
    """

    two: Values
    three: Values
    memory: PassMemory
    scratch: dict[fx.Node, int]

    def sample_bytes(self, node: fx.Node) -> int:
        """Return the bytes of a node's value for each sample."""
        return _bytes(self.three[node]) - _bytes(self.two[node])

    def gather_function(self, node: fx.Node) -> SampleGather:
        """Return a function that selects samples of a node's value.

        Parameters
        ----------
        node
            The node.

        Returns
        -------
        Function of the value and of sample indices (rows,), which may repeat.

        Raises
        ------
        BatchAxisError
            Where the samples do not lie on one axis of the value.
        """
        try:
            return _gather_function(self.two[node], self.three[node])
        except BatchAxisError as error:
            raise BatchAxisError(f"'{node}' {error}") from None


def observe(program: Program, example: AnyInputs) -> Observation:
    """Run a program on two and on three samples, and resolve its in-place operations.

    Afterwards the value of a node never changes. An operation in place works on a copy, and later
    uses of the value that it would overwrite read its result.

    Parameters
    ----------
    program
        The program; its graph is changed where it has operations in place.
    example
        Inputs, of at least one sample; samples are repeated where there are less than three.

    Returns
    -------
    The observation.

    Raises
    ------
    UntraceableError
        Where an operation in place changes a view of a value that is used later.
    """
    rows = torch.arange(3, device=example.device) % len(example)
    with torch.inference_mode(mode=False), torch.no_grad():
        # Indexing copies: the first run may overwrite its inputs.
        two = _observe_run(program, example[rows[:2]])
        three = _observe_run(program, example[rows])
    _avoid_copies(program)
    scratch = {n: max(0, more - two.scratch[n]) for n, more in three.scratch.items()}
    memory = PassMemory.between(two.memory, three.memory)
    return Observation(two.values, three.values, memory, scratch)


@dataclass(frozen=True)
class _ObservedRun:
    """Values of one run as meta tensors, scratch bytes of each node, and memory of the pass."""

    values: Values
    scratch: dict[fx.Node, int]
    memory: MemoryWatch


def _observe_run(program: Program, inputs: AnyInputs) -> _ObservedRun:
    values, shapes, scratch, memory = program.start(inputs), {}, {}, MemoryWatch()
    for node in program.nodes:
        versions = {other: (value, _version(value)) for other, value in values.items()}
        memory.begin()
        with memory:
            value = program.step(node, values)
        scratch[node] = memory.recent_peak - memory.alive
        shapes[node] = _to_meta(value)
        changed = [other for other, (old, version) in versions.items() if _version(old) > version]
        overwritten = {other for other in changed if other in node.all_input_nodes}
        if overwritten:
            program.overwrites[node] = overwritten
        if _redirect(program, node, value, {o: values[o] for o in changed if o in values}):
            values[node] = value
    return _ObservedRun(shapes, scratch, memory)


def _redirect(program: Program, node: fx.Node, value: Any, changed: Values) -> bool:
    """Make later uses of the values that a node overwrote read the node.

    Returns
    -------
    Whether the node overwrote any value.
    """
    index = program.index[node]
    for other, overwritten in changed.items():
        if not _same_tensor(overwritten, value):
            raise UntraceableError(f"'{node}' overwrites a view of '{other}', which is used later")
        other.replace_all_uses_with(node, lambda user: program.position(user) > index)
        for call in program.calls:  # that return the value after it was overwritten
            if call.output is other and node in call.nodes:
                call.output = node
    if changed:
        program.relink()
    return bool(changed)


def _avoid_copies(program: Program) -> None:
    """Replace operations in place by ones that need no copy, where these exist."""
    for node in list(program.overwrites):
        module = program.modules.get(node)
        if module is not None and getattr(module, "inplace", False):
            program.modules[node] = copy.copy(module)
            program.modules[node].inplace = False  # type: ignore[assignment]
        elif node.kwargs.get("inplace"):
            node.update_kwarg("inplace", False)  # noqa: FBT003  torch's signature
        elif node.target in _OUT_OF_PLACE:
            node.target = _OUT_OF_PLACE[node.target]
        else:
            continue
        del program.overwrites[node]


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else 0  # noqa: SLF001


def _same_tensor(one: Any, other: Any) -> bool:
    """Tell whether two tensors have the same elements at the same addresses."""
    return (
        same_storage(one, other)
        and one.data_ptr() == other.data_ptr()
        and (one.shape, one.stride()) == (other.shape, other.stride())
    )


def _to_meta(value: Any) -> Any:
    """Return a value with meta tensors, which have shapes but no numbers, for its tensors."""
    if isinstance(value, Tensor):
        return torch.empty_like(value, device="meta", requires_grad=False)
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return [_to_meta(entry) for entry in value]
    return value


def add_value(observation: Observation, node: fx.Node, function: Callable[[Tensor], Any]) -> None:
    """Add the value of a node that computes a function of the node before it."""
    (source,) = node.all_input_nodes
    for values in (observation.two, observation.three):
        values[node] = function(values[source])
    observation.scratch[node] = 0


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, tuple | list):
        return sum(_bytes(entry) for entry in value)
    return 0


def batch_axis(two: Tensor, three: Tensor) -> int | None:
    """Return the axis of the samples of a value.

    Parameters
    ----------
    two
        The value on two samples; only its shape is read.
    three
        The value on three samples.

    Returns
    -------
    The axis; None where the shape does not depend on the number of samples.

    Raises
    ------
    BatchAxisError
        Where the samples do not lie on one axis.
    """
    if two.shape == three.shape:
        return None
    axes = [
        axis
        for axis in range(two.dim())
        if two.shape[axis : axis + 1] != three.shape[axis : axis + 1]
    ]
    if two.dim() != three.dim() or len(axes) != 1:
        raise BatchAxisError("changes in more than one axis with the number of samples")
    if (two.shape[axes[0]], three.shape[axes[0]]) != (2, 3):
        raise BatchAxisError("has several rows a sample")
    return axes[0]


def _gather_function(two: Any, three: Any) -> SampleGather:
    if isinstance(two, Tensor):
        axis = batch_axis(two, three)
        return _keep if axis is None else lambda value, rows: select_samples(value, axis, rows)
    if isinstance(two, tuple | list):
        gathers = [_gather_function(a, b) for a, b in zip(two, three, strict=True)]
        return lambda value, rows: _rebuild(
            value, [gather(entry, rows) for gather, entry in zip(gathers, value, strict=True)]
        )
    if type(two) is int and two != three:
        if two * 3 != three * 2:
            raise BatchAxisError("is no multiple of the number of samples")
        return lambda _, rows: (two // 2) * len(rows)
    if two is not three and two != three:
        raise BatchAxisError("depends on the number of samples in an unknown way")
    return _keep


def _keep(value: Any, _: Tensor) -> Any:
    return value


def select_samples(value: Tensor, axis: int, rows: Tensor) -> Tensor:
    """Select samples of a value, as ``index_select`` does, but keep its memory layout.

    Parameters
    ----------
    value
        The value.
    axis
        Axis of the samples.
    rows
        Indices of the samples, of shape (rows,).
    """
    order = sorted(range(value.dim()), key=value.stride, reverse=True)
    inverse = [order.index(dimension) for dimension in range(value.dim())]
    return value.permute(order).index_select(order.index(axis), rows).permute(inverse)


def _rebuild(value: Any, entries: list[Any]) -> Any:
    return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
