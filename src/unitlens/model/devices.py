"""The device that a network computes on, checked before anything runs."""

from typing import Any

import torch
from torch import nn

from unitlens.errors import ArgumentError

DeviceChoice = torch.device | str | None
_CPU = torch.device("cpu")


def find_device(model: nn.Module, chosen: DeviceChoice) -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    model
        The network.
    chosen
        The device; None for that of the network's parameters and buffers.

    Raises
    ------
    ArgumentError
        Where there is no such device, it cannot compute what is needed, or the network lies on
        several devices and none is chosen.

    Examples
    --------
    >>> find_device(torch.nn.Linear(2, 2), None)
    device(type='cpu')
    """
    if chosen is not None:
        return checked_device(chosen)
    if not hasattr(model, "parameters"):  # refused where the network is opened, and better told
        return _CPU
    tensors = (*model.parameters(), *model.buffers())
    devices = dict.fromkeys(tensor.device for tensor in tensors if not tensor.is_meta)
    if len(devices) > 1:
        names = ", ".join(map(str, devices))
        raise ArgumentError(
            f"the model's parameters and buffers lie on {names}, but must lie on one device; move "
            f"them to one, or give device={str(next(iter(devices)))!r}, which moves them there and "
            "back"
        )
    return checked_device(next(iter(devices), _CPU))


def checked_device(chosen: torch.device | str) -> torch.device:
    """Return a device by its name, if it is there and can compute what is needed.

    Parameters
    ----------
    chosen
        The device or its name.

    Raises
    ------
    ArgumentError
        Where it is not there, or cannot compute what is needed.
    """
    try:
        device = torch.device(chosen)
    except (RuntimeError, TypeError):
        raise ArgumentError(
            f"device is {chosen!r}, but must be a device of PyTorch, such as 'cpu', 'cuda' or "
            "'cuda:1'"
        ) from None
    named = f"device is {str(device)!r}, but"
    if device.type == "cuda":
        _check_gpu(device, named)
    elif device.type == "mps":
        raise ArgumentError(
            f"{named} mps has no float64 numbers, in which sums are kept; give device='cpu'"
        )
    elif device.type == "meta":
        raise ArgumentError(f"{named} meta holds no numbers; load the model's weights first")
    return device


def describe_device(device: torch.device) -> str:
    """Return what a device is, as far as its numbers may depend on it.

    Parameters
    ----------
    device
        The device.

    Returns
    -------
    Of a GPU its name, and the versions of CUDA, of cuDNN and of the driver; else the kind of the
    device.

    Examples
    --------
    >>> describe_device(torch.device("cpu"))
    'cpu'
    """
    if device.type != "cuda":
        return device.type
    parts: Any = torch
    driver = parts._C._cuda_getDriverVersion()  # noqa: SLF001  there is no public name
    return (
        f"{torch.cuda.get_device_name(device)}, CUDA {parts.version.cuda}, cuDNN "
        f"{parts.backends.cudnn.version()}, driver {driver}"
    )


def _check_gpu(device: torch.device, named: str) -> None:
    """Raise an ArgumentError where PyTorch cannot compute on a GPU."""
    if not torch.cuda.is_available():
        raise ArgumentError(
            f"{named} this machine has no GPU that PyTorch can use, or PyTorch is built for CPUs "
            "alone; give device='cpu'"
        )
    count = torch.cuda.device_count()
    number = torch.cuda.current_device() if str(device) == "cuda" else device.index
    if number >= count:
        there = ", ".join(f"cuda:{gpu}" for gpu in range(count))
        raise ArgumentError(f"{named} the GPUs here are {there}; give one of them")
    own, kernels = torch.cuda.get_device_capability(number), torch.cuda.get_arch_list()
    known = [kernel for kernel in kernels if kernel.startswith(("sm_", "compute_"))]  # NVIDIA's
    if known and not any(_runs_on(own, kernel) for kernel in known):
        raise ArgumentError(
            f"{named} {torch.cuda.get_device_name(number)} (sm_{own[0]}{own[1]}) is not among the "
            f"GPUs that this PyTorch has kernels for ({', '.join(kernels)}); give device='cpu', or "
            "install a PyTorch that has"
        )


def _runs_on(own: tuple[int, int], kernel: str) -> bool:
    """Tell whether a GPU of a compute capability runs a kernel such as sm_80 or compute_80.

    Machine code (``sm``) runs on GPUs of the same major version and at least the same minor one;
    intermediate code (``compute``) on all later ones (NVIDIA, CUDA C++ Programming Guide, binary
    and PTX compatibility).
    """
    kind, _, number = kernel.partition("_")
    digits = "".join(character for character in number if character.isdigit())
    if not digits:
        return False
    version = int(digits[:-1] or 0), int(digits[-1])
    if kind == "compute":
        return own >= version
    if number.endswith("a"):  # such as sm_90a: this very GPU alone
        return own == version
    return own[0] == version[0] and own[1] >= version[1]
