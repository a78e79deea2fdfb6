"""When two ways of computing a network's output give the same."""

import torch
from torch import Tensor


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
