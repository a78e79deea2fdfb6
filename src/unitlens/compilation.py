"""Compilation of inner loops by numba, once on a machine. Importing this module imports numba."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock


def compiled(**options: Any) -> Callable[[Any], Any]:
    """Return numba's decorator, without a cache where no directory for one can be written.

    The functions run without the interpreter's lock. All functions that call each other stand in
    one module, because numba's cache of one source file does not notice a change in another file.
    Of several processes that need a function at the same time one compiles it, and the others
    read the result.

    Parameters
    ----------
    options
        Options of ``numba.njit``, such as ``fastmath``.
    """

    def decorate(function: Any) -> Any:
        try:
            dispatcher = numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, **options)(function)
        _compile_under_lock(dispatcher)
        return dispatcher

    return decorate


def _compile_under_lock(dispatcher: Any) -> None:
    """Make processes compile a function one after another, so that all but one read the cache."""
    unlocked = dispatcher.compile

    def compile_locked(signature: Any) -> Any:
        directory = Path(dispatcher.stats.cache_path)
        directory.mkdir(parents=True, exist_ok=True)
        # One object a path: a function whose callee is compiled meanwhile holds the lock already.
        with FileLock(directory / "compilation.lock", is_singleton=True):
            return unlocked(signature)

    dispatcher.compile = compile_locked
