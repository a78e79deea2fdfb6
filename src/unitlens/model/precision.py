"""The types that a network computes in, and the tolerance within which its outputs agree."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor

from unitlens.errors import ArgumentError

PrecisionName = Literal["float64", "bfloat16"]
Precision = PrecisionName | None
_STORED: dict[Precision, torch.dtype | None] = {
    None: None,
    "float64": torch.float64,
    "bfloat16": torch.float32,  # what autocast casts from
}


def stored_dtype(precision: Precision) -> torch.dtype | None:
    """Return what parameters and buffers are brought to, None where they stay as they are.

    Raises
    ------
    ArgumentError
        Where there is no such precision.
    """
    if precision is not None and precision not in get_args(PrecisionName):
        raise ArgumentError(
            f"precision is {precision!r}, but must be None (the network's own), 'float64' or "
            "'bfloat16'"
        )
    return _STORED[precision]


def passes_in(precision: Precision, device: torch.device | str) -> AbstractContextManager[object]:
    """Return the context that passes run in."""
    if precision != "bfloat16":
        return nullcontext()
    # Casts of weights are not kept: they take memory, and weights are only lent.
    return torch.autocast(torch.device(device).type, torch.bfloat16, cache_enabled=False)


def uncast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context for a user's own code, in which nothing is cast."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def close(one: Tensor, other: Tensor) -> bool:
    """Tell whether outputs agree within what rounding in another order explains.

    Parameters
    ----------
    one, other
        Outputs of the same samples. They may differ by the root of their dtype's precision, of
        each number and of the largest of `other`.
    """
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    scale = float(other.abs().nan_to_num(posinf=0.0).amax()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
