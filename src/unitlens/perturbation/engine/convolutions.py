"""A convolution subtracted from rows in one pass over them, by oneDNN."""

from typing import Any

import torch
from torch import Tensor, nn

_NAME = "_convolution_pointwise_"  # of the operation that torch's own compiler calls for this


def subtracts_at_once(module: Any) -> bool:
    """Tell whether :func:`subtract_convolved` does what one module's convolution does.

    It does so of two dimensions in float32 on a CPU, outside of autocast. Where this PyTorch has
    no such operation, it does nowhere.
    """
    if type(module) is not nn.Conv2d or isinstance(module.padding, str) or module.groups > 1:
        return False
    weight = module.weight
    fitting = weight.device.type == "cpu" and weight.dtype == torch.float32
    built = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    known = built and hasattr(torch.ops.mkldnn, _NAME)
    return fitting and known and not torch.is_autocast_enabled("cpu")


def subtract_convolved(rows: Tensor, maps: Tensor, weight: Tensor, module: nn.Conv2d) -> None:
    """Subtract from `rows`, in place, what a module's convolution makes of `maps`.

    Parameters
    ----------
    rows
        Shape (rows, out, positions ...).
    maps
        Shape (rows, in, positions ...).
    weight
        Shape (out, in, kernel ...), in place of the module's own; no bias.
    module
        The convolution: stride, padding, dilation.
    """
    subtract = getattr(torch.ops.mkldnn, _NAME).binary
    subtract(
        rows, maps.neg(), weight.to_mkldnn(), None,
        module.padding, module.stride, module.dilation, 1, "add", 1.0, None, [], None,
    )  # fmt: skip
