"""What two small runs of a traced network tell: batch axes, memory, in-place operations."""

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from unitlens.model.graph import Program, Values, same_storage
from unitlens.model.memory_watch import MemoryWatch, PassMemory

_OUT_OF_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}

Fold = Callable[[Any, Tensor], Any]


class UntraceableError(Exception):
    """The graph of a model does not stand for the model; the text says why."""


class UnfoldableError(Exception):
    """A value cannot be gathered by samples; the text says which and why."""


@dataclass(frozen=True)
class Observation:
    """Values of every node on two and on three samples, as meta tensors.

    Attributes
    ----------
    two, three
        The values.
    memory
        Bytes of each sample in a pass.
    scratch
        Bytes that each node needs beside its input and output, each sample.
    """

    two: Values
    three: Values
    memory: PassMemory
    scratch: dict[fx.Node, int]

    def sample_bytes(self, node: fx.Node) -> int:
        """Return how many bytes of a node's value each sample takes."""
        return _bytes(self.three[node]) - _bytes(self.two[node])

    def fold(self, node: fx.Node) -> Fold:
        """Return the function of a node's value and sample numbers that gathers these samples.

        Raises
        ------
        UnfoldableError
            Where the batch is not one axis of the value.
        """
        try:
            return _fold(self.two[node], self.three[node])
        except UnfoldableError as error:
            raise UnfoldableError(f"'{node}' {error}") from None


def observe(program: Program, example: Tensor) -> Observation:
    """Run a program on two and on three samples, and resolve its in-place operations.

    After it, no node is used once another one has overwritten its memory: later uses read the
    node that did it, which works on a copy. So the value of a node never changes.

    Raises
    ------
    UntraceableError
        Where an in-place operation changes a view of a value that is used later.
    """
    rows = torch.arange(3, device=example.device) % len(example)
    with torch.inference_mode(mode=False), torch.no_grad():
        # The first run finds what is overwritten; copies, in case that is the example itself.
        two = _watch(program, example[rows[:2]])
        three = _watch(program, example[rows])
    _work_out_of_place(program)
    scratch = {n: max(0, more - two.scratch[n]) for n, more in three.scratch.items()}
    memory = PassMemory.between(two.memory, three.memory)
    return Observation(two.values, three.values, memory, scratch)


@dataclass(frozen=True)
class _Watched:
    """What one run tells: values as meta tensors, scratch of each node, and memory."""

    values: Values
    scratch: dict[fx.Node, int]
    memory: MemoryWatch


def _watch(program: Program, inputs: Tensor) -> _Watched:
    values, seen, scratch, memory = program.start(inputs), {}, {}, MemoryWatch()
    for node in program.nodes:
        before = {other: (value, _version(value)) for other, value in values.items()}
        memory.begin()
        with memory:
            value = program.step(node, values)
        scratch[node] = memory.recent_peak - memory.alive
        seen[node] = _shape_only(value)
        changed = [other for other, (old, version) in before.items() if _version(old) > version]
        overwritten = {other for other in changed if other in node.all_input_nodes}
        if overwritten:
            program.overwrites[node] = overwritten
        if _redirect(program, node, value, {o: values[o] for o in changed if o in values}):
            values[node] = value
    return _Watched(seen, scratch, memory)


def _redirect(program: Program, node: fx.Node, value: Any, changed: Values) -> bool:
    """Let later uses of the values that a node overwrote read the node; tell if there were any."""
    after = program.index[node]
    for other, overwritten in changed.items():
        if not _same_tensor(overwritten, value):
            raise UntraceableError(f"'{node}' overwrites a view of '{other}', which is used later")
        other.replace_all_uses_with(node, lambda user: program.position(user) > after)
    if changed:
        program.relink()
    return bool(changed)


def _work_out_of_place(program: Program) -> None:
    """Spare the copies that operations in place are given, where they can do without."""
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
    return (
        same_storage(one, other)
        and one.data_ptr() == other.data_ptr()
        and (one.shape, one.stride()) == (other.shape, other.stride())
    )


def _shape_only(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_like(value, device="meta", requires_grad=False)
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return [_shape_only(entry) for entry in value]
    return value


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, tuple | list):
        return sum(_bytes(entry) for entry in value)
    return 0


def batch_axis(two: Tensor, three: Tensor) -> int | None:
    """Return the axis on which the samples lie, None if the value does not depend on them."""
    if two.shape == three.shape:
        return None
    axes = [
        axis
        for axis in range(two.dim())
        if two.shape[axis : axis + 1] != three.shape[axis : axis + 1]
    ]
    if two.dim() != three.dim() or len(axes) != 1:
        raise UnfoldableError("changes in more than one axis with the number of samples")
    if (two.shape[axes[0]], three.shape[axes[0]]) != (2, 3):
        raise UnfoldableError("has several rows a sample")
    return axes[0]


def _fold(two: Any, three: Any) -> Fold:
    if isinstance(two, Tensor):
        axis = batch_axis(two, three)
        return _keep if axis is None else lambda value, rows: take(value, axis, rows)
    if isinstance(two, tuple | list):
        folds = [_fold(a, b) for a, b in zip(two, three, strict=True)]
        return lambda value, rows: _rebuilt(
            value, [fold(entry, rows) for fold, entry in zip(folds, value, strict=True)]
        )
    if type(two) is int and two != three:
        if two * 3 != three * 2:
            raise UnfoldableError("is no multiple of the number of samples")
        return lambda _, rows: (two // 2) * len(rows)
    if two != three:
        raise UnfoldableError("depends on the number of samples in an unknown way")
    return _keep


def _keep(value: Any, _: Tensor) -> Any:
    return value


def take(value: Tensor, axis: int, rows: Tensor) -> Tensor:
    """Select rows of a value, laid out in memory as it is, which ``index_select`` forgets."""
    order = sorted(range(value.dim()), key=value.stride, reverse=True)
    back = [order.index(place) for place in range(value.dim())]
    return value.permute(order).index_select(order.index(axis), rows).permute(back)


def _rebuilt(value: Any, entries: list[Any]) -> Any:
    return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
