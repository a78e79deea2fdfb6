"""The precision that a network computes in, and the tolerance for comparing its outputs."""

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
    "bfloat16": torch.float32,  # autocast casts from float32
}


def stored_dtype(precision: Precision) -> torch.dtype | None:
    """Return the dtype that parameters and buffers are converted to.

    Parameters
    ----------
    precision
        None (the network's own), ``float64`` or ``bfloat16``.

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
            f"precision is {precision!r}, but must be None (the network's own), 'float64' or "
            "'bfloat16'"
        )
    return _STORED[precision]


def autocast_for(
    precision: Precision, device: torch.device | str
) -> AbstractContextManager[object]:
    """Return the context for forward passes in a precision: autocast for ``bfloat16``."""
    if precision != "bfloat16":
        return nullcontext()
    # No cache of converted weights: it takes memory, and the weights are the user's.
    return torch.autocast(torch.device(device).type, torch.bfloat16, cache_enabled=False)


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
