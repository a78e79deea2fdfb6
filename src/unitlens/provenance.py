"""What code a result depends on."""

import ast
import hashlib
from functools import cache
from pathlib import Path

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
def code_digest(module: str) -> str:
    """Return a digest of the source of a module and of all of unitlens that it imports.

    Parameters
    ----------
    module
        Full name of a module of unitlens.

    Returns
    -------
    Twelve hexadecimal digits; they change when a line of code that the module can reach through
    its imports changes, those of the declaring floors excepted.

    Examples
    --------
    >>> code_digest("unitlens.errors") == code_digest("unitlens.errors")
    True
    """
    sources = {name: _source(name).read_bytes() for name in sorted(_reached(module))}
    digest = hashlib.sha256()
    for name, source in sources.items():
        digest.update(name.encode() + b"\0" + source + b"\0")
    return digest.hexdigest()[:12]


def _reached(module: str) -> set[str]:
    reached, waiting = {module}, [module]
    while waiting:
        new = {name for name in _imports(waiting.pop()) if not _declares(name)} - reached
        reached |= new
        waiting += new
    return reached


def _declares(name: str) -> bool:
    return name in DECLARING or name.startswith("unitlens.config.")


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
    import unitlens

    parts = module.split(".")[1:]
    bases = [Path(root, *parts) for root in unitlens.__path__]
    candidates = [file for base in bases for file in (base / "__init__.py", base.with_suffix(".py"))]
    return [file for file in candidates if file.is_file()]
