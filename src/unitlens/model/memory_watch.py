"""The memory that the operations of a network take, observed while they run."""

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Dtypes that oneDNN convolves; for other dtypes PyTorch unfolds the patches of the input.
ONEDNN_DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class PassMemory:
    """Bytes for each sample in a pass.

    Attributes
    ----------
    peak
        Largest size of all values that are in memory at once.
    total
        Size of all values of the pass together, which a backward pass may need.
    """

    peak: int
    total: int

    @classmethod
    def between(cls, two: "MemoryWatch", three: "MemoryWatch") -> "PassMemory":
        """Return the bytes that one sample adds, from passes on two and on three samples."""
        return cls(max(0, three.peak - two.peak), max(0, three.total - two.total))


class MemoryWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that observes the memory of the tensors that operations make inside of it.

    Attributes
    ----------
    alive
        Bytes of these tensors that are in memory now.
    peak
        Largest number of bytes in memory at once, scratch memory of operations included.
    recent_peak
        The same since the last :meth:`begin`.
    total
        Bytes of all these tensors together, freed ones included.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.recent_peak = self.total = 0
        self._counted: set[int] = set()
        self._fast_attention = torch.backends.mha.get_fastpath_enabled()

    def __enter__(self) -> Self:
        """Begin to observe. Attention runs unfused, because a fused operation hides its tensors."""
        self._fast_attention = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(value=False)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop to observe, and restore how attention runs."""
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        torch.backends.mha.set_fastpath_enabled(self._fast_attention)

    def begin(self) -> None:
        """Set the recent peak to the bytes that are in memory now."""
        self.recent_peak = self.alive

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Answer PyTorch, which else imports its compiler (over a second) at the first use."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count the tensors that it makes."""
        of_inputs = {id(storage) for storage in _storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if id(storage) not in of_inputs and id(storage) not in self._counted:
                self._add(storage)
        extra = _scratch(args, result) if func is torch.ops.aten.convolution.default else 0
        self.total += extra
        self.recent_peak = max(self.recent_peak, self.alive + extra)
        self.peak = max(self.peak, self.recent_peak)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        size, key = storage.nbytes(), id(storage)
        self._counted.add(key)
        self.alive += size
        self.total += size

        def freed() -> None:
            self._counted.discard(key)
            self.alive -= size

        weakref.finalize(storage, freed).atexit = False


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
            yield leaf.untyped_storage()


def _scratch(args: tuple[Any, ...], result: Tensor) -> int:
    """Return the bytes that a convolution needs beside its input and output.

    oneDNN copies both into a memory layout of its own. For other dtypes, PyTorch unfolds the
    patches of the input, of the whole batch.
    """
    inputs, weight = args[0], args[1]
    if inputs.dtype in ONEDNN_DTYPES:
        return int(inputs.nbytes + result.nbytes)
    transposed, groups = args[6], args[8]
    if math.prod(weight.shape[2:]) == 1 and groups == 1:
        return 0
    # The tensor with one position for each patch, and the channels of a patch.
    grid, channels = (inputs, result.shape[1]) if transposed else (result, inputs.shape[1])
    patches = grid.numel() // max(grid.shape[1], 1)
    patch_size = channels // groups * math.prod(weight.shape[2:])
    grouped = result.nbytes if groups > 1 else 0
    return int(patches * patch_size * result.element_size() + grouped)
