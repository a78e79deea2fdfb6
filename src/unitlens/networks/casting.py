"""What numbers a network computes in: its own, others for a time, or casts around its passes."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch

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
