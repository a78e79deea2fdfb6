"""Compilation of functions by numba, once on a machine. Importing this module imports numba."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock
from numba.core import event

from unitlens.progress import tell


def compiled(**options: Any) -> Callable[[Any], Any]:
    """Return a decorator that compiles a function by ``numba.njit`` at its first call.

    Compiled functions run without the interpreter's lock and are cached on disk, where a directory
    for the cache can be written. The first compilation of a process is told on a terminal. Of
    several processes that need a function at the same time, one
    compiles it and the others read the cache. Functions that call each other must be in one
    module, because numba's cache of one source file does not notice a change in another file.

    Parameters
    ----------
    options
        Further options of ``numba.njit``, such as ``fastmath``.
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
    """Take a lock for each compilation of a function, so that one process compiles it at a time."""
    unlocked = dispatcher.compile

    def compile_locked(signature: Any) -> Any:
        directory = Path(dispatcher.stats.cache_path)
        directory.mkdir(parents=True, exist_ok=True)
        # A singleton: compiling a function compiles its callees, while the lock is held already.
        with FileLock(directory / "compilation.lock", is_singleton=True):
            return unlocked(signature)

    dispatcher.compile = compile_locked


class _FirstCompilation(event.Listener):
    """Tells of the first of our functions that is compiled, and not read from the cache."""

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        # A function that another library makes from text has no module.
        module = dispatcher.py_func.__module__ or ""
        if _told or not module.startswith("unitlens."):
            return
        _told.append(dispatcher.py_func.__name__)
        kept = ", once: the result is kept for later sessions"
        if getattr(dispatcher.stats, "cache_path", None) is None:
            kept = (
                " in each session: no directory can be written that keeps the result; name one in "
                "the environment variable NUMBA_CACHE_DIR"
            )
        tell(f"compiling numerical functions takes up to 20 s{kept}")

    def on_end(self, event: Any) -> None:
        """Do nothing: the end of a compilation is not told."""


_told: list[str] = []
event.register("numba:compile", _FirstCompilation())  # type: ignore[no-untyped-call]
