"""The precision that a network computes in, and the tolerance for comparing its outputs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from unitlens.errors import ArgumentError

PrecisionName = Literal["float64", "bfloat16", "tf32"]
Precision = PrecisionName | None
_STORED: dict[Precision, torch.dtype | None] = {
    None: None,
    "float64": torch.float64,
    "bfloat16": torch.float32,  # autocast casts from float32
    "tf32": torch.float32,
}


def stored_dtype(precision: Precision) -> torch.dtype | None:
    """Return the dtype that parameters and buffers are converted to.

    Parameters
    ----------
    precision
        None (the network's own), ``float64``, ``bfloat16`` or ``tf32``.

    Returns
    -------
    The dtype; None where parameters and buffers are not converted.

    Raises
    ------
    ArgumentError
        Where there is no such precision.

    Examples
    --------
    >>> stored_dtype("bfloat16")
    torch.float32
    """
    if precision is not None and precision not in get_args(PrecisionName):
        raise ArgumentError(
            f"precision is {precision!r}, but must be None (the network's own), 'float64', "
            "'bfloat16' or 'tf32'"
        )
    return _STORED[precision]


@contextmanager
def forward_precision(precision: Precision, device: torch.device | str) -> Iterator[None]:
    """Run forward and backward passes in a precision, whatever the user's settings are.

    Products of float32 numbers are those of IEEE float32, or of TF32 where asked for: PyTorch's
    convolutions on GPUs round factors to TF32 by default, to about three digits. Autocast is on
    for ``bfloat16`` alone. All settings come back at the end.

    Parameters
    ----------
    precision
        None (the network's own), ``float64``, ``bfloat16`` or ``tf32``.
    device
        The device.

    Raises
    ------
    ArgumentError
        Where there is no such precision, or the device has no TF32.

    Examples
    --------
    >>> import torch
    >>> torch.set_float32_matmul_precision("medium")
    >>> with forward_precision(None, "cpu"):
    ...     product = torch.ones(2, 2) @ torch.ones(2, 2)  # in IEEE float32
    >>> torch.get_float32_matmul_precision()
    'medium'
    >>> torch.set_float32_matmul_precision("highest")
    """
    kind = torch.device(device).type
    if precision == "tf32" and kind == "cpu":
        raise ArgumentError(
            "precision is 'tf32', but a CPU has no TF32; leave precision out, or give device='cuda'"
        )
    autocast: AbstractContextManager[object] = nullcontext()
    if precision == "bfloat16":
        # No cache of converted weights: it takes memory, and the weights are the user's.
        autocast = torch.autocast(kind, torch.bfloat16, cache_enabled=False)
    products = _float32_products("tf32" if precision == "tf32" else "ieee")
    with products, autocast_disabled(torch.device(device)), autocast:
        yield


@contextmanager
def _float32_products(on_gpu: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Set how float32 numbers are multiplied on GPUs; on CPUs as IEEE float32.

    PyTorch has two sets of settings, and refuses to read the older ones where the two disagree. So
    both are set, and both come back. Settings of owners are read while the parents, of which they
    take what is not set, state nothing.
    """
    cudnn, matmul = torch.backends.cudnn, _read(torch.get_float32_matmul_precision)
    allowed = _read(lambda: cudnn.allow_tf32)
    before = []
    parents, matmuls, others = _owners()
    for owner in parents:
        before.append((owner, owner.fp32_precision))
        owner.fp32_precision = "none"
    before += [(owner, owner.fp32_precision) for owner in (*matmuls, *others)]
    try:
        torch.set_float32_matmul_precision("highest" if on_gpu == "ieee" else "high")
        cudnn.allow_tf32 = on_gpu == "tf32"
        for owner, is_of_gpu in others.items():
            owner.fp32_precision = on_gpu if is_of_gpu else "ieee"
        yield
    finally:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if allowed is not None:
            cudnn.allow_tf32 = allowed
        for owner, value in reversed(before):
            owner.fp32_precision = value


def _owners() -> tuple[list[Any], list[Any], dict[Any, bool]]:
    """Return what owns a setting of products since PyTorch 2.9.

    Returns
    -------
    Parents, from which owners take what they do not state, each behind its own parent; the owners
    that the older setting of matrix products sets; the others, and whether they are of GPUs.
    """
    backends: Any = torch.backends
    cuda, cudnn, onednn = backends.cuda, backends.cudnn, backends.mkldnn
    if not hasattr(cudnn, "conv"):
        return [], [], {}
    others = {cudnn.conv: True, cudnn.rnn: True, onednn.conv: False, onednn.rnn: False}
    return [backends, cudnn, onednn], [cuda.matmul, onednn.matmul], others


def _read(setting: Callable[[], Any]) -> Any:
    """Return a setting, None where PyTorch refuses to read it."""
    try:
        return setting()
    except RuntimeError:
        return None


@contextmanager
def repeatable_convolutions() -> Iterator[None]:
    """Run convolutions on GPUs by algorithms that give the same bits again; settings come back."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def autocast_disabled(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without autocast, for the code of a user inside of a pass."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def outputs_agree(output: Tensor, expected: Tensor) -> bool:
    """Tell whether two outputs of the same samples agree up to rounding in another order.

    Parameters
    ----------
    output
        An output.
    expected
        The output to compare with.

    Returns
    -------
    Whether shapes are equal and numbers agree. Integers must be equal. Floats may differ by
    ``t |expected| + t max |expected|``, where t is the square root of the dtype's machine epsilon.
    """
    if output.shape != expected.shape:
        return False
    if not output.is_floating_point():
        return torch.equal(output, expected)
    tolerance = torch.finfo(output.dtype).eps ** 0.5
    largest = float(expected.abs().nan_to_num(posinf=0.0).amax()) if expected.numel() else 0.0
    return torch.allclose(
        output, expected, rtol=tolerance, atol=tolerance * largest, equal_nan=True
    )
