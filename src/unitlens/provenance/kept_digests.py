"""Digests that are kept on disk for as long as no file of the package changes.

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


def kept_digest(name: str, compute: Callable[[], str]) -> str:
    """Return a digest from the disk, or compute and keep it.

    Parameters
    ----------
    name
        Name of the digest.
    compute
        Function that computes the digest from the files of the package.

    Returns
    -------
    The digest. Nothing is kept where the folder of the package cannot be written.
    """
    path = source.PACKAGE / "provenance" / "__pycache__" / f"digests-{_state()}.json"
    digests = _read(path)
    if name not in digests:
        digests[name] = compute()
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as partial:
                partial.write_text(json.dumps(digests))
            _remove_others(path)
    return digests[name]


@cache
def _state() -> str:
    """Return a hash of the paths and contents of all files that a digest may cover."""
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
    """Remove the digests of earlier states of the package."""
    for other in path.parent.glob("digests-*.json"):
        if other != path:
            other.unlink(missing_ok=True)
