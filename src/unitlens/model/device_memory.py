"""The memory that a call may take beside the model and the data set."""

import math
from numbers import Real
from typing import Literal

import torch

from unitlens.errors import ArgumentError
from unitlens.gpu_shares import jobs_per_gpu

MemoryLimit = float | Literal["auto"]
CPU_GB = 2.0
FREE_SHARE = 0.6  # of the free memory of a GPU; the rest is for cuDNN's workspace and fragments


def memory_limit(memory_gb: MemoryLimit, device: torch.device, weights: int = 0) -> float:
    """Return a memory limit in bytes.

    Parameters
    ----------
    memory_gb
        The limit in gigabytes (10^9 bytes). ``"auto"`` is 2 on a CPU, and on a GPU 60 % of the
        memory that is free, or of the job's share of the GPU where that is less, rounded down to 1
        or 1.5 times a power of 2 gigabytes: a call that goes on needs the batches that it had.
    device
        The device.
    weights
        Bytes of the network where it is still to be moved to the device, beside which the limit is.

    Raises
    ------
    ArgumentError
        Where the limit is not above 0.

    Examples
    --------
    >>> memory_limit("auto", torch.device("cpu")) / 1e9
    2.0
    """
    if memory_gb == "auto":
        if device.type != "cuda":
            return CPU_GB * 1e9
        return _round_down(FREE_SHARE * (_free_bytes(device) - weights))
    given: object = memory_gb
    is_number = isinstance(given, Real) and not isinstance(given, bool)
    if not is_number or not memory_gb > 0:
        raise ArgumentError(f"memory_gb is {given!r}, but must be above 0, or 'auto'")
    return float(memory_gb) * 1e9


def _round_down(number: float) -> float:
    """Return the largest number below that is 1 or 1.5 times a power of 2 gigabytes."""
    power: float = 2.0 ** math.floor(math.log2(max(number / 1e9, 1e-3)))
    return power * (1.5e9 if number >= 1.5e9 * power else 1e9)


def _free_bytes(device: torch.device) -> float:
    """Return the memory of a GPU that this process may take: free, or held by it and unused."""
    free, whole = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(free + unused, whole / jobs_per_gpu())
