"""A GPU that is simulated: tensors in the memory of the CPU that count as those of a GPU.

Within :func:`simulated_gpu`, ``device="cuda"`` works as on a machine with one GPU:

* an operation on tensors of both devices, ``numpy()`` of a tensor of the GPU, and operations that
  a GPU does not have, raise;
* kernels and synchronisations (the CPU waits for a number of the GPU) are counted;
* convolutions and matrix products round to TF32 where PyTorch's settings allow it;
* sums by place add their terms in another order each time, unless PyTorch is told otherwise;
* the n-th allocation can fail for want of memory.
"""

from collections import Counter, defaultdict
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
# Operations that return numbers to the CPU, or tensors whose shape depends on numbers.
WAITING = frozenset(
    (
        *(aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten.bincount),
        *(aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave),
    )
)
NUMBERS = (aten._local_scalar_dense, aten.equal)
COPIES = (aten._to_copy, aten.copy_)
CONVOLUTIONS = (aten.convolution, aten.convolution_backward)
PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.baddbmm_, aten.addmm_, aten.mv)
INDEXED = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
ATOMIC = (aten.index_add, aten.index_add_)
ONLY_ON_CPUS = ("mkldnn", "onednn", "nnpack", "histogram", "fbgemm")


class OnGpu(Tensor):
    """A tensor whose numbers are those of `raw`.

    To PyTorch itself it is a tensor without numbers (meta), which it never runs a kernel for.
    """

    device = property(lambda _: GPU)
    is_cuda = property(lambda _: True)
    is_cpu = property(lambda _: False)
    is_meta = property(lambda _: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw):
        made = Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(),
            dtype=raw.dtype, device="meta",
        )  # fmt: skip
        made.raw = raw
        return made

    def __repr__(self, **_):
        return f"OnGpu({self.raw!r})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        raise AssertionError(f"{operation} runs outside of the simulated GPU")


class SimulatedGpu(TorchDispatchMode):
    """Runs operations, and counts those on the GPU.

    Attributes
    ----------
    kernels, waits
        Number of kernels, and of synchronisations, by the name of the operation.
    shapes
        Shapes of the tensors that each kind of operation takes.
    fails_at
        Number of the allocation that fails for want of memory, from 1; None: no one does.
    """

    def __init__(self):
        super().__init__()
        self.kernels, self.waits, self.allocations, self.fails_at = Counter(), Counter(), 0, None
        self.shapes = defaultdict(set)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
        asked = kwargs.get("device")
        if ours or any(isinstance(leaf, torch.device) for leaf in leaves):
            composed = self._composed(operation, args, kwargs)
            if composed is not NotImplemented:
                return composed
        to_gpu = bool(ours) if asked is None else torch.device(asked).type in ("cuda", "meta")
        if not (ours or to_gpu):
            return operation(*args, **kwargs)
        if asked is not None:
            kwargs["device"] = "cpu"
        kind = operation.overloadpacket
        _check(operation, kind, tensors)
        if kind is aten.copy_ and not isinstance(args[0], OnGpu):
            to_gpu = False
        if ours and (not to_gpu or _waits(kind, args)):
            self.waits[str(kind)] += 1
        self.shapes[kind].add(tuple(tensor.shape for tensor in tensors))
        raw_args, raw_kwargs = tree_map_only(OnGpu, lambda tensor: tensor.raw, (args, kwargs))
        result = operation(*_as_computed(kind, raw_args), **raw_kwargs)
        return self._wrapped(operation, result, ours) if to_gpu and kind not in NUMBERS else result

    def _composed(self, operation, args, kwargs):
        """Run an operation by those that it is composed of."""
        if torch._C._dispatch_has_kernel_for_dispatch_key(
            operation.name(), "CompositeImplicitAutograd"
        ):
            with self:
                return operation.decompose(*args, **kwargs)
        return NotImplemented

    def _wrapped(self, operation, result, ours):
        aliases = [of.alias_info for of in operation._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in aliases)
        known = {id(tensor.raw): tensor for tensor in ours}
        if not is_view:
            self.kernels[str(operation.overloadpacket)] += 1

        def wrapped(raw):
            if id(raw) in known:  # changed in place
                return known[id(raw)]
            if is_view:  # as PyTorch's views, of inference where its base is
                with torch.inference_mode(ours[0].is_inference()):
                    return OnGpu(raw)
            self.allocations += 1
            if self.allocations == self.fails_at:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return OnGpu(raw)

        return tree_map_only(Tensor, wrapped, result)


def _check(operation, kind, tensors):
    """Raise what a GPU would raise."""
    if any(type(tensor) is Tensor and tensor.is_meta for tensor in tensors):
        raise AssertionError(f"{operation} reads a tensor that the simulated GPU does not know")
    if any(word in operation.name() for word in ONLY_ON_CPUS):
        raise NotImplementedError(
            f"Could not run '{operation}' with arguments from the 'CUDA' backend."
        )
    if kind in (*COPIES, *INDEXED):
        return
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, OnGpu) and tensor.dim()]
    if elsewhere and len(elsewhere) < len(tensors):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! ({operation})"
        )


def _waits(kind, args):
    if kind not in INDEXED:
        return kind in WAITING
    return any(
        index is not None and (index.dtype is torch.bool or not isinstance(index, OnGpu))
        for index in args[1]
    )


def _as_computed(kind, args):
    """Return arguments as a GPU takes them: rounded, or in another order."""
    cudnn, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    if (kind in CONVOLUTIONS and cudnn.fp32_precision != "ieee") or (
        kind in PRODUCTS and matmul.fp32_precision != "ieee"
    ):
        return tree_map_only(Tensor, _tf32, args)
    if kind in ATOMIC and not torch.are_deterministic_algorithms_enabled():
        sums, dim, places, terms, *more = args
        order = torch.randperm(len(places), generator=_ATOMS)
        return (sums, dim, places[order], terms.index_select(dim, order), *more)
    return args


_ATOMS = torch.Generator().manual_seed(0)


def _tf32(numbers):
    """Round to the ten bits behind the leading one that TF32 keeps."""
    if numbers.dtype != torch.float32:
        return numbers
    bits = numbers.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


class _Functions(TorchFunctionMode):
    """What PyTorch does with a tensor before it calls an operation."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        first = args[0] if args else None
        if function == Tensor.data.__set__:
            return _set_data(*args)
        if function in (torch.tensor, torch.as_tensor) and not isinstance(first, OnGpu):
            device = kwargs.pop("device", None)
            made = function(*args, **kwargs)
            return made if device is None else made.to(device)
        if function is Tensor.pin_memory:
            return first
        if not isinstance(first, OnGpu):
            return function(*args, **kwargs)
        if function in _INSTEAD:
            return _INSTEAD[function](first)
        if function is Tensor.to:
            args = tuple(_meta(argument) for argument in args)
            kwargs = {name: _meta(argument) for name, argument in kwargs.items()}
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            args = (first, _moved(args[1]), *args[2:])
        return function(*args, **kwargs)


def _refuse_numpy(_):
    raise TypeError("can't convert cuda:0 device type tensor to numpy.")


_INSTEAD = {
    Tensor.numpy: _refuse_numpy,
    Tensor.__array__: _refuse_numpy,
    Tensor.tolist: lambda tensor: tensor.cpu().tolist(),
    Tensor.cuda: lambda tensor: tensor,
    Tensor.data_ptr: lambda tensor: tensor.raw.data_ptr(),
    Tensor.untyped_storage: lambda tensor: tensor.raw.untyped_storage(),
}


def _set_data(tensor, value):
    """Set a tensor's data; PyTorch itself refuses data of another class."""
    with torch._C.DisableTorchFunction():
        if isinstance(tensor, nn.Parameter):
            value = nn.Parameter(value, requires_grad=tensor.requires_grad)
        tensor.__class__, value.__class__ = value.__class__, tensor.__class__
        tensor.__dict__, value.__dict__ = value.__dict__, tensor.__dict__
        torch._C._swap_tensor_impl(tensor, value)


def _meta(argument):
    named = isinstance(argument, str | torch.device) and str(argument).startswith("cuda")
    return torch.device("meta") if named else argument


def _moved(key):
    """Return an index whose lists are tensors of the GPU, as PyTorch makes them."""
    if isinstance(key, tuple):
        return tuple(_moved(part) for part in key)
    return torch.tensor(key).to("cuda") if isinstance(key, list | np.ndarray) else key


@contextmanager
def _own_generator(*_, **__):
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


@contextmanager
def simulated_gpu():
    """Run a block on a machine with a simulated GPU, and return it."""
    torch._C._ensureCUDADeviceGuardSet()
    patch = pytest.MonkeyPatch()
    for name, value in {
        "_lazy_init": None,
        "is_available": True,
        "device_count": 1,
        "is_bf16_supported": True,
        "current_device": 0,
        "get_device_capability": (9, 0),
        "get_arch_list": ["sm_90"],
        "get_device_name": "simulated GPU",
        "mem_get_info": (8e9, 8e9),
        "memory_reserved": 0,
        "memory_allocated": 0,
        "empty_cache": None,
        "synchronize": None,
        "manual_seed": None,
        "set_rng_state": None,
        "device": nullcontext(),
    }.items():
        patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    patch.setattr(torch.cuda, "get_rng_state", lambda *_: torch.zeros(1, dtype=torch.uint8))
    patch.setattr(torch.random, "fork_rng", _own_generator)
    patch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12000, raising=False)
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    # The simulated GPU has PyTorch's own kernels, not cuDNN's.
    plain = torch.backends.cudnn.flags(enabled=False, allow_tf32=torch.backends.cudnn.allow_tf32)
    try:
        with plain, _Functions(), SimulatedGpu() as gpu:
            yield gpu
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)
        patch.undo()
