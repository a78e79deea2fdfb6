"""How much memory a network's operations take, watched while they run."""

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ONEDNN = (torch.float32, torch.bfloat16)  # types whose convolutions need no patches unfolded


@dataclass(frozen=True)
class PassMemory:
    """Bytes that each sample takes in a pass.

    Attributes
    ----------
    peak
        Of all values that are alive at once, at most.
    total
        Of all values that are ever made, as a backward pass may keep them.
    """

    peak: int
    total: int

    @classmethod
    def between(cls, two: "MemoryWatch", three: "MemoryWatch") -> "PassMemory":
        """Return what one sample adds, from passes on two and on three."""
        return cls(max(0, three.peak - two.peak), max(0, three.total - two.total))


class MemoryWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follow the memory of the tensors that operations make inside of it.

    Attributes
    ----------
    alive, peak, recent_peak, total
        Bytes of what was made and is still there; the most that ever was, scratch of operations
        included; the same since the last :meth:`begin`; and all that was made.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.recent_peak = self.total = 0
        self._known: set[int] = set()
        self._fast_attention = torch.backends.mha.get_fastpath_enabled()

    def __enter__(self) -> Self:
        """Begin to watch; attention without its fused operation, inside of which nothing shows."""
        self._fast_attention = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(value=False)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: object) -> None:
        """End it."""
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        torch.backends.mha.set_fastpath_enabled(self._fast_attention)

    def begin(self) -> None:
        """Forget how high the recent peak was."""
        self.recent_peak = self.alive

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Answer PyTorch, which would import its compiler (over a second) to keep it off this."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count what it makes."""
        given = {id(storage) for storage in _storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if id(storage) not in given and id(storage) not in self._known:
                self._add(storage)
        extra = _scratch(args, result) if func is torch.ops.aten.convolution.default else 0
        self.total += extra
        self.recent_peak = max(self.recent_peak, self.alive + extra)
        self.peak = max(self.peak, self.recent_peak)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        size, key = storage.nbytes(), id(storage)
        self._known.add(key)
        self.alive += size
        self.total += size

        def freed() -> None:
            self._known.discard(key)
            self.alive -= size

        weakref.finalize(storage, freed).atexit = False


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
            yield leaf.untyped_storage()


def _scratch(args: tuple[Any, ...], result: Tensor) -> int:
    """Return the bytes that a convolution needs beside what it reads and puts out.

    oneDNN brings both into an order of its own; for the types that it does not know, PyTorch
    unfolds the patches that are read, of the whole batch.
    """
    inputs, weight = args[0], args[1]
    if inputs.dtype in ONEDNN:
        return int(inputs.nbytes + result.nbytes)
    transposed, groups = args[6], args[8]
    if math.prod(weight.shape[2:]) == 1 and groups == 1:
        return 0
    wide, channels = (inputs, result.shape[1]) if transposed else (result, inputs.shape[1])
    rows = wide.numel() // max(wide.shape[1], 1)
    patch = channels // groups * math.prod(weight.shape[2:])
    return int(rows * patch * result.element_size() + (result.nbytes if groups > 1 else 0))
