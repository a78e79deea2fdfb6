"""Calls of the user's own functions, which are named as module:function."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unitlens.errors import UnitlensError, nearest, one_line


def call_user_function(
    name: str, arguments: Mapping[str, Any], *, key: str, error: type[UnitlensError]
) -> Any:
    """Import a function by module:function and call it.

    Parameters
    ----------
    name
        Module and function. The module is searched in the current directory first.
    arguments
        Keyword arguments of the call.
    key
        Key of the configuration that names the function, for the messages of errors.
    error
        Class of the error that is raised.

    Returns
    -------
    The value that the function returns.

    Raises
    ------
    UnitlensError
        Of the class `error`: where the module cannot be imported, has no such function, or the
        function fails.
    """
    with _current_directory_importable():
        function = _import(name, key, error)
        try:
            return function(**arguments)
        except UnitlensError:
            raise
        except Exception as problem:
            reason = f"{type(problem).__name__}: {one_line(problem)}"
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
            f"({type(problem).__name__}: {one_line(problem)}); it must lie in the current "
            "directory or on PYTHONPATH"
        ) from problem
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise error(
            f"{key} = {name!r}: module {module_name!r} has no function {function_name!r}; "
            f"{nearest(function_name, functions)}"
        )
    return function  # type: ignore[no-any-return]


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    current_directory = str(Path.cwd())
    sys.path.insert(0, current_directory)
    try:
        yield
    finally:
        sys.path.remove(current_directory)
