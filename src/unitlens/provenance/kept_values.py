"""Values that follow from the package alone, kept on disk until a file of the package changes.

To follow all names of the package takes 1.7 s of processor time, at each start of the workflow
and of each of its jobs on a cluster. To hash the files of the package takes .03 s.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from unitlens.local_files import replacing
from unitlens.provenance import source

_SUFFIXES = (".py", ".html", ".css")


def kept_value(name: str, compute: Callable[[], str]) -> str:
    """Return a value from the disk, or compute and keep it.

    Parameters
    ----------
    name
        Name of the value; it names all that the value depends on beside the package.
    compute
        Function that computes the value.

    Returns
    -------
    The value. Nothing is kept where the folder of the package cannot be written.
    """
    path = source.PACKAGE / "provenance" / "__pycache__" / f"values-{_state()}.json"
    values = _read(path)
    if name not in values:
        values[name] = compute()
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as partial:
                partial.write_text(json.dumps(values))
            _remove_others(path)
    return values[name]


@cache
def _state() -> str:
    """Return a hash of the paths and contents of all files that a value may follow from."""
    state, folder = hashlib.sha256(), source.PACKAGE
    for file in sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES):
        content = file.read_bytes()
        state.update(f"{file.relative_to(folder)}\0{len(content)}\0".encode())
        state.update(content)
    return state.hexdigest()[:24]


def _read(path: Path) -> dict[str, str]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _remove_others(path: Path) -> None:
    """Remove the values of earlier states of the package."""
    for other in path.parent.glob("values-*.json"):
        if other != path:
            other.unlink(missing_ok=True)
