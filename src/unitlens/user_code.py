"""The user's own functions, named as module:function."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unitlens.errors import UnitlensError, nearest


def call_user_function(
    name: str, arguments: Mapping[str, Any], *, key: str, error: type[UnitlensError]
) -> Any:
    """Import a function by module:function and call it.

    Parameters
    ----------
    name
        Module and function. The module is looked up in the current directory, then as usual.
    arguments
        Keyword arguments of the call.
    key
        The key of the configuration that names the function, for the message of an error.
    error
        Class of the error that is raised where the function cannot be had or fails.

    Returns
    -------
    What the function returns.
    """
    with _current_directory_importable():
        function = _import(name, key, error)
        try:
            return function(**arguments)
        except UnitlensError:
            raise
        except Exception as problem:
            reason = f"{type(problem).__name__}: {_one_line(problem)}"
            raise error(
                f"{key} = {name!r} failed when it was called with {dict(arguments)}: {reason}"
            ) from problem


def _import(name: str, key: str, error: type[UnitlensError]) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:
        raise error(
            f"{key} = {name!r}: module {module_name!r} cannot be imported "
            f"({type(problem).__name__}: {_one_line(problem)}); it must lie in the current "
            "directory or on PYTHONPATH"
        ) from problem
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise error(
            f"{key} = {name!r}: module {module_name!r} has no function {function_name!r}; "
            f"{nearest(function_name, known)}"
        )
    return function  # type: ignore[no-any-return]


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())
