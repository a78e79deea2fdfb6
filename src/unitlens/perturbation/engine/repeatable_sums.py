"""Sums by place that have the same bits each time, on a GPU too."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_DETERMINISTIC = 2  # of torch.set_deterministic_debug_mode: never by atomic additions


def add_at(sums: Tensor, dim: int, places: Tensor, terms: Tensor) -> None:
    """Add terms to sums, in place.

    A GPU adds the terms of a place in an order that changes from call to call (atomic additions),
    unless PyTorch is told to sort the terms by place; here it is.

    Parameters
    ----------
    sums
        The sums.
    dim
        Axis of the places.
    places
        Place of each term along the axis, (terms,).
    terms
        The terms, of the shape of the sums but for the axis, which has the terms.

    Examples
    --------
    >>> sums = torch.zeros(3)
    >>> add_at(sums, 0, torch.tensor([2, 0, 2]), torch.tensor([1.0, 2.0, 4.0]))
    >>> sums.tolist()
    [2.0, 0.0, 5.0]
    """
    with repeatable_sums(sums.device):
        sums.index_add_(dim, places, terms)


@contextmanager
def repeatable_sums(device: torch.device) -> Iterator[None]:
    """Let PyTorch add in the same order each time within the block; its setting comes back.

    Parameters
    ----------
    device
        Device of the sums. On a CPU the order never changes, and nothing is set.
    """
    if device.type == "cpu":
        yield
        return
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(_DETERMINISTIC)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
