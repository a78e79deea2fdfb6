"""Merging the states of the blocks of a dask array to one, lazily."""

from collections.abc import Callable
from functools import reduce
from typing import Any

from dask.delayed import delayed

_MERGED_AT_ONCE = 4  # states that one task of the merging tree takes in


def merged(states: list[Any], merge: Callable[[Any, Any], Any]) -> Any:
    """Return the delayed state of all samples.

    Parameters
    ----------
    states
        Delayed states, at least one, each of some of the samples.
    merge
        Makes the state of both of two; associative.

    Notes
    -----
    Merged by a tree: dask works it off depth first, so that the number of states that are held
    at a time grows with the logarithm of their number only.
    """
    merge_all = delayed(reduce)
    while len(states) > 1:
        states = [
            merge_all(merge, states[first : first + _MERGED_AT_ONCE])
            for first in range(0, len(states), _MERGED_AT_ONCE)
        ]
    return states[0]
