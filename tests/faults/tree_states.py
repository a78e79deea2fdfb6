"""A results folder as a state: copied fast, and told from others by what it holds."""

# Thousands of paths are looked at for each case, for which pathlib is slow.
# ruff: noqa: PTH103, PTH108, PTH110, PTH112, PTH116, PTH118, PTH208

import hashlib
import os
import re
import shutil
from pathlib import Path

_REPLACED = (".nc", ".safetensors", ".parquet")  # always written beside, then renamed
# What is different in each process: its machine and number, or a number by chance.
_PASSING = re.compile(r"\.(?:[\w-]+-\d+|[0-9a-f]{32})(?=\.partial$)")


def restore(source, target):
    """Make a directory what another one is; what is in it already stays.

    Files that are only ever replaced are shared with the source, not copied.
    """
    for folder, folders, names in os.walk(target):
        origin = os.path.join(source, os.path.relpath(folder, target))
        if not os.path.isdir(origin):
            shutil.rmtree(folder)
            folders.clear()
            continue
        for name in names:
            if _stamp(os.path.join(origin, name)) != _stamp(os.path.join(folder, name)):
                os.unlink(os.path.join(folder, name))
    for folder, _, names in os.walk(source):
        place = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(place, exist_ok=True)
        for name in set(names).difference(os.listdir(place)):
            _copy(os.path.join(folder, name), os.path.join(place, name))


def _is_shared(path):
    return path.endswith(_REPLACED) or ".zarr/" in path


def _stamp(path):
    """Return what tells a file from any other that takes its place."""
    if not os.path.exists(path):
        return None
    status = os.stat(path)
    own = status.st_ino if _is_shared(path) else None
    return own, status.st_size, status.st_mtime_ns


def _copy(source, target):
    if _is_shared(source):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


class StateReader:
    """Tells the states of directories apart; a file that was read once is not read again."""

    def __init__(self):
        self._hashes = {}

    def digest(self, directory):
        """Return a digest of all names and contents in a directory."""
        total = hashlib.sha256()
        for folder, folders, names in os.walk(directory):
            folders.sort()
            place = Path(folder).relative_to(directory)
            entries = sorted((_PASSING.sub("", name), name) for name in names)
            total.update(f"{place}{[plain for plain, _ in entries]}".encode())
            for _, name in entries:
                total.update(self._hash(os.path.join(folder, name)))
        return total.hexdigest()

    def _hash(self, path):
        status = os.stat(path)
        key = (path, status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = hashlib.sha256(Path(path).read_bytes()).digest()
        return self._hashes[key]


def partial_files(directory):
    """Return the names of the files in a directory that a process had not finished."""
    return sorted(
        _PASSING.sub("", str(path.relative_to(directory))) for path in directory.rglob("*.partial")
    )
