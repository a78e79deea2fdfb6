"""Arrays of the numbers that a user gives, wherever they are."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor


def as_array(given: Any, dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
    """Return numbers as an array of numpy, from a tensor of any device too.

    Parameters
    ----------
    given
        A tensor, with or without a gradient, an array, a sequence or a number.
    dtype
        Dtype of the array; None for that of the numbers.

    Examples
    --------
    >>> import torch
    >>> as_array(torch.ones(2, requires_grad=True)).tolist()
    [1.0, 1.0]
    """
    return np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, dtype)
