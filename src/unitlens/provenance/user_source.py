"""Digests of the user's own code: of a function's module and of the modules that it imports."""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path


def user_code_digest(function: str) -> str:
    """Return a digest of the source that a user's ``module:function`` is made of.

    The digest covers the module, the packages around it, and all modules under the same root that
    these import, directly or not, anywhere in their text. The root is the directory in which the
    module was found. Of an installed package, only the modules of the package itself count.
    Comments change nothing. A module that is imported by a computed name is not covered.

    Parameters
    ----------
    function
        The name; one without a colon is no user's.

    Returns
    -------
    Twelve hexadecimal digits, or nothing where there is no such source to read.
    """
    module, colon, _ = function.partition(":")
    files = user_modules(module) if colon else ()
    if not files:
        return ""
    total = hashlib.sha256()
    for name, file in files:
        total.update(f"{name}\0{_source_text(file)}\0".encode())
    return total.hexdigest()[:12]


def user_modules(module: str) -> tuple[tuple[str, Path], ...]:
    """Return the modules of the user that a module consists of, each with its file, by name.

    Parameters
    ----------
    module
        Dotted name of the module. It is searched in the current directory, then on ``sys.path``.
    """
    root = module_root(module)
    if root is None:
        return ()
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for part in _with_parents(name):
            file = _module_file(root, part)
            if part in found or file is None or not _is_own(root, part, module):
                continue
            found[part] = file
            waiting += _imported_names(file, part)
    return tuple(sorted(found.items()))


def module_root(module: str) -> Path | None:
    """Return the directory that a module of the user is found in, None where there is none.

    Parameters
    ----------
    module
        As for :func:`user_modules`.
    """
    return next((root for root in _roots() if _module_file(root, module) is not None), None)


def _roots() -> Iterator[Path]:
    yield Path.cwd()
    yield from (Path(entry) for entry in sys.path if entry)


def _is_own(root: Path, name: str, module: str) -> bool:
    """Tell whether a module under a root is the user's: of an installed package, only its own."""
    installed = root.name in ("site-packages", "dist-packages")
    if not installed and str(root) not in sysconfig.get_paths().values():
        return True
    return name.partition(".")[0] == module.partition(".")[0]


def _module_file(root: Path, name: str) -> Path | None:
    base = root.joinpath(*name.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _imported_names(file: Path, name: str) -> list[str]:
    """Return the names that a module imports; a name from a module may be a module itself."""
    tree = _parse(file)
    if tree is None:
        return []
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [imported for imported in names if imported]


def _source_text(file: Path) -> str:
    """Return the source of a module without comments; its bytes where it is no Python."""
    tree = _parse(file)
    return ast.dump(tree) if tree is not None else file.read_bytes().hex()


def _parse(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return None
