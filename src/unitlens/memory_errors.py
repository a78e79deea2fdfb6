"""Errors that say that memory is used up, on a CPU or on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

from unitlens.errors import UsedUpMemoryError, first_line

# PyTorch tells of a CPU's memory, and libraries of GPUs tell of theirs, by text alone.
_TEXTS = (
    "can't allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
)


def lacks_memory(error: BaseException | None) -> bool:
    """Tell whether an error says that memory is used up, or was raised for one that does.

    Parameters
    ----------
    error
        The error.

    Examples
    --------
    >>> lacks_memory(RuntimeError("CUDA error: out of memory"))
    True
    >>> lacks_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    while error is not None:
        # OutOfMemoryError is PyTorch's class; this module is loaded where PyTorch is not.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS):
            return True
        error = error.__cause__
    return False


@contextmanager
def telling_remedy(argument: str, device: object, memory_gb: float | None = None) -> Iterator[None]:
    """Name what to do where memory is used up within the block.

    Parameters
    ----------
    argument
        The argument to lower, beside `memory_gb`.
    device
        The device, whose name is that of a CPU or of a GPU.
    memory_gb
        Memory limit of the call; None where it has none.

    Raises
    ------
    UsedUpMemoryError
        Where memory is used up. Its text is one line.
    """
    try:
        yield
    except UsedUpMemoryError:
        raise
    except Exception as error:
        if not lacks_memory(error):
            raise
        told, remedy = first_line(error).rstrip("."), f"lower {argument}"
        if memory_gb is not None:
            remedy = f"lower memory_gb, which is {memory_gb:g}, or {argument}"
        if str(device) == "cpu":
            remedy += ", or give the job more memory (mem_mb of its rule on a cluster)"
        raised = UsedUpMemoryError(f"memory is used up ({told}); {remedy}")
        raised.memory_gb = memory_gb
        raise raised from error
