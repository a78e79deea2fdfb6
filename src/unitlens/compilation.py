"""Compiling inner loops. Importing this module imports numba."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Any], Any]:
    """Return numba's decorator, without a cache where no directory for one can be written.

    The functions run without the interpreter's lock. All that call each other stand in one
    module, because numba's cache of one source file does not notice a change in another.
    """

    def decorate(function: Any) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, **options)(function)

    return decorate
