"""What code a result depends on."""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
TEMPLATES = (".html", ".css")

# The floors that only declare: editing their text must not train networks again. What they
# declare reaches a rule as its parameters or shows in its checks.
DECLARING = (
    "unitlens",
    "unitlens.errors",
    "unitlens.variables",
    "unitlens.progress",
    "unitlens.provenance",
    "unitlens.config",
)


@cache
def code_digest(*modules: str) -> str:
    """Return a digest of the source of modules and of all of unitlens that they import.

    Parameters
    ----------
    modules
        Full names of modules of unitlens.

    Returns
    -------
    Twelve hexadecimal digits; they change when a line of code that a module can reach through
    its imports changes, those of the declaring floors excepted.

    Examples
    --------
    >>> code_digest("unitlens.errors") == code_digest("unitlens.errors")
    True
    """
    digest = hashlib.sha256()
    for name in sorted(set().union(*map(_reached, modules))):
        digest.update(name.encode() + b"\0" + b"\0".join(_texts(name)) + b"\0")
    return digest.hexdigest()[:12]


def user_code_digest(function: str) -> str:
    """Return a digest of the source of the module of a user's ``module:function``.

    Parameters
    ----------
    function
        The name; one without a colon is no user's.

    Returns
    -------
    Twelve hexadecimal digits, or nothing where there is no such source to read.
    """
    module, colon, _ = function.partition(":")
    for root in (Path.cwd(), *map(Path, sys.path)) if colon else ():
        base = root.joinpath(*module.split("."))
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return ""


def _reached(module: str) -> set[str]:
    reached, waiting = {module}, [module]
    while waiting:
        new = {name for name in _imports(waiting.pop()) if not _declares(name)} - reached
        reached |= new
        waiting += new
    return reached


def _declares(name: str) -> bool:
    return name in DECLARING or name.startswith(("unitlens.config.", "unitlens.variables."))


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the modules of unitlens that a module imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(_source(module).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in found if name.startswith("unitlens") and _is_module(name))


def _is_module(name: str) -> bool:
    return bool(_files(name))


def _source(module: str) -> Path:
    files = _files(module)
    if not files:
        raise ModuleNotFoundError(f"there is no module {module}")
    return files[0]


def _files(module: str) -> list[Path]:
    """Find the source of a module without importing the packages it lies in."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    return [file for file in (base / "__init__.py", base.with_suffix(".py")) if file.is_file()]


def _texts(module: str) -> list[bytes]:
    """Return the source of a module and, of a package, the templates that lie in it."""
    source = _source(module)
    beside = sorted(source.parent.iterdir()) if source.name == "__init__.py" else []
    return [path.read_bytes() for path in (source, *(p for p in beside if p.suffix in TEMPLATES))]
