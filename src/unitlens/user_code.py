"""Calls of the user's own functions, which are named as module:function."""

import ast
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from unitlens.errors import UnitlensError, nearest, one_line, shown

# The interpreter's own: they do whatever they are told (subprocess:call), and build no network.
NOT_THE_USERS = sys.stdlib_module_names | {"__main__", "unitlens"}


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
        Of the class `error`: where the module is one of Python's own, cannot be imported or has no
        such function, or where the function fails.
    """
    refusal = refuse_standard_library(name)
    if refusal:
        raise error(f"{key} = {shown(name)}: {refusal}")
    with _current_directory_importable():
        function = _import(name, key, error)
        try:
            return function(**arguments)
        except UnitlensError:
            raise
        except Exception as problem:
            reason = f"{type(problem).__name__}: {one_line(problem)}"
            raise error(
                f"{key} = {shown(name)} failed when it was called with {shown(dict(arguments))}: "
                f"{reason}"
            ) from problem


def refuse_standard_library(name: str) -> str:
    """Return why a module:function is refused by its name alone, empty where it is not.

    Parameters
    ----------
    name
        Module and function.

    Examples
    --------
    >>> refuse_standard_library("subprocess:call")
    "the module 'subprocess' is Python's or unitlens's own, and must be yours; ..."
    >>> refuse_standard_library("my_package.models:build")
    ''
    """
    top = name.partition(":")[0].partition(".")[0]
    if top not in NOT_THE_USERS:
        return ""
    return (
        f"the module {shown(top)} is Python's or unitlens's own, and must be yours; name a "
        "function of your own module (rename a module of yours that has this name)"
    )


def find_problem(name: str) -> str:
    """Look for a module:function without running any of its code.

    The module's file is found as an import would find it, and its text is searched for the name of
    the function. Neither the module nor a package around it is imported.

    Parameters
    ----------
    name
        Module and function. The module is searched in the current directory first.

    Returns
    -------
    What is wrong, in words, empty where nothing is found to be.
    """
    module_name, _, function_name = name.partition(":")
    refusal = refuse_standard_library(name)
    if refusal:
        return refusal
    with _current_directory_importable():
        spec = _find_module(module_name)
    if spec is None:
        return (
            f"module {shown(module_name)} cannot be found; it must lie in the current directory or "
            "on PYTHONPATH"
        )
    if spec.origin is None or Path(spec.origin).suffix != ".py":
        return ""
    try:
        names = _top_names(ast.parse(Path(spec.origin).read_bytes()).body)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        return (
            f"module {shown(module_name)} cannot be read ({type(problem).__name__}: "
            f"{one_line(problem)}); put {spec.origin} right"
        )
    if function_name in names or names & {"*", "__getattr__"}:
        return ""
    public = sorted(n for n in names if n[:1] != "_")
    return (
        f"module {shown(module_name)} has no function {shown(function_name)}; "
        f"{nearest(function_name, public)}"
    )


def _find_module(name: str) -> ModuleSpec | None:
    """Find a module without importing the packages around it."""
    spec: ModuleSpec | None = None
    places = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        if end > 1 and places is None:
            return None
        dotted = ".".join(parts[:end])
        found = (finder.find_spec(dotted, places) for finder in sys.meta_path)
        spec = next((one for one in found if one is not None), None)
        if spec is None:
            return None
        places = spec.submodule_search_locations
    return spec


def _top_names(body: list[ast.stmt]) -> set[str]:
    """Return the names that the statements of a module bind, those within if, try and with too."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {part.id for part in ast.walk(node) if _is_bound(part)}  # type: ignore[attr-defined]
        else:
            for field in ("body", "orelse", "finalbody"):
                names |= _top_names(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                names |= _top_names(handler.body)
    return names


def _is_bound(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _import(name: str, key: str, error: type[UnitlensError]) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:
        raise error(
            f"{key} = {shown(name)}: module {shown(module_name)} cannot be imported "
            f"({type(problem).__name__}: {one_line(problem)}); it must lie in the current "
            "directory or on PYTHONPATH"
        ) from problem
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise error(
            f"{key} = {shown(name)}: module {shown(module_name)} has no function "
            f"{shown(function_name)}; {nearest(function_name, functions)}"
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
