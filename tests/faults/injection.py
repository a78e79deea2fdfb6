"""A layer under all reading and writing of a process, in which the n-th operation goes wrong.

In the manner of SQLite's tests: the layer counts the operations on files below one directory, and
the n-th operation of a kind fails, or is the last of the process. Operations of Python are
wrapped one by one; a function of a compiled library that reads or writes a whole file is one
operation.

A fault is written as ``kind:number:effect``, for instance ``write:7:fail``.
"""

# The functions of os are what is wrapped here.
# ruff: noqa: PTH100, PTH115, PTH116, PTH117, PTH118, PTH202

import errno
import functools
import io
import json
import os
import shutil  # noqa: F401  it looks at the functions of os while they are those of the system
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

KINDS = ("write", "create", "rename", "remove", "flush", "read")
KILLED = 137  # the exit status of a process that was killed, as a shell tells it

# What the system answers where an operation fails.
ERRORS = {
    "write": errno.ENOSPC,
    "create": errno.ENOSPC,
    "rename": errno.EIO,
    "remove": errno.EACCES,
    "flush": errno.EIO,
    "read": errno.EIO,
}
_system = {
    "open": io.open,
    "exit": os._exit,
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes
    ----------
    kind
        Kind of the operation, of :data:`KINDS`.
    number
        Which operation of the kind, from 1.
    effect
        ``fail``: that operation raises OSError. ``full``: that operation and all later ones that
        write. ``stop``: the process ends at once, in the middle of the operation. ``power``: as
        stop, and each file that was written but not flushed loses its second half.
    """

    kind: str
    number: int
    effect: str

    def __str__(self):
        return f"{self.kind}:{self.number}:{self.effect}"

    @classmethod
    def parse(cls, text):
        kind, number, effect = text.split(":")
        return cls(kind, int(number), effect)


class Layer:
    """The layer in this process.

    Parameters
    ----------
    root
        The directory below which operations count.
    fault
        The fault; None where operations are only counted.
    report
        File to which the counts are written when the process ends.
    """

    def __init__(self, root, fault=None, report=None):
        self.root = os.path.realpath(root)
        self.counts = Counter()
        self._fault, self._report = fault, report
        self._lock = threading.RLock()
        self._unflushed = set()
        self._real = {}  # folder to its path without links
        self._fired = False

    def find(self, file, dir_fd=None):
        """Return the path of a file as text where it is below the root, else None."""
        if isinstance(file, int):
            try:
                path = os.readlink(f"/proc/self/fd/{file}")
            except OSError:
                return None
        else:
            path = os.fsdecode(file)
            if dir_fd is not None and not os.path.isabs(path):
                path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
            path = os.path.abspath(path)
            folder, name = os.path.split(path)
            if folder not in self._real:
                self._real[folder] = os.path.realpath(folder)
            path = os.path.join(self._real[folder], name)
        return path if path.startswith(self.root + os.sep) else None

    def count(self, kind, path, half=None):
        """Count an operation, and carry out the fault where it is its turn.

        Parameters
        ----------
        kind
            Kind of the operation.
        path
            The file, for the message.
        half
            Function that does half of the operation, where a process may end within it.
        """
        with self._lock:
            self.counts[kind] += 1
            fault = self._fault
            if fault is None:
                return
            due = fault.kind == kind and self.counts[kind] == fault.number
            if fault.effect == "full" and kind in ("write", "create"):
                due = due or self._fired
            if not due:
                return
            self._fired = True
            if fault.effect in ("stop", "power"):
                if half is not None:
                    half()
                self._end(power=fault.effect == "power")
            number = ERRORS["write"] if fault.effect == "full" else ERRORS[kind]
            raise OSError(number, os.strerror(number), path)

    def mark(self, status, *, flushed=False):
        """Remember whether a file, by what os.stat tells of it, is on the disk."""
        (self._unflushed.discard if flushed else self._unflushed.add)(
            (status.st_dev, status.st_ino)
        )

    def _end(self, *, power):
        if power:
            for folder, _, names in os.walk(self.root):
                for name in names:
                    path = os.path.join(folder, name)
                    status = os.stat(path)
                    if (status.st_dev, status.st_ino) in self._unflushed:
                        os.truncate(path, status.st_size // 2)
        self.write_report()
        _system["exit"](KILLED)

    def write_report(self):
        """Write what was counted, and whether the fault took place."""
        if self._report:
            with _system["open"](self._report, "w") as file:
                json.dump({"counts": self.counts, "fired": self._fired}, file)

    def install(self):
        """Put the layer under this process."""
        _CountedFile.layer = self
        io.open = _counted_open(self)
        import builtins

        builtins.open = io.open
        os.open = _counted_os_open(self)
        os.write = _counted_os_write(self)
        os.fsync = _counted_flush(self)
        for name in ("replace", "rename", "link"):
            setattr(os, name, _counted(self, "rename", getattr(os, name), target=1))
        for name in ("unlink", "remove", "rmdir"):
            setattr(os, name, _counted(self, "remove", getattr(os, name)))
        os.mkdir = _counted(self, "create", os.mkdir)
        os.sendfile = _refused  # shutil copies with reads and writes instead
        self._leave = os._exit
        os._exit = self._exit
        wrap_libraries(self)

    def _exit(self, status):
        self.write_report()
        self._leave(status)


class _CountedFile(io.FileIO):
    """A file of the system of which each read and write counts."""

    layer = None

    def write(self, data):
        data = memoryview(data).cast("B")
        path = self.layer.find(self.fileno()) or str(self.name)

        def half():
            super(_CountedFile, self).write(data[: len(data) // 2])

        self.layer.mark(os.fstat(self.fileno()))
        self.layer.count("write", path, half)
        return super().write(data)

    def truncate(self, size=None):
        self.layer.count("write", str(self.name))
        return super().truncate(size)

    def readinto(self, buffer):
        self.layer.count("read", str(self.name))
        return super().readinto(buffer)

    def readall(self):
        self.layer.count("read", str(self.name))
        return super().readall()

    def read(self, size=-1):
        self.layer.count("read", str(self.name))
        return super().read(size)


def _counted_open(layer):
    def open_counted(
        file,
        mode="r",
        buffering=-1,
        encoding=None,
        errors=None,
        newline=None,
        closefd=True,
        opener=None,
    ):
        path = layer.find(file)
        if path is None:
            return _system["open"](
                file, mode, buffering, encoding, errors, newline, closefd, opener
            )
        if not isinstance(file, int):
            layer.count("create" if set(mode) & set("wxa") else "read", path)
        raw = _CountedFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if set(mode) & set("wx"):
            layer.mark(os.fstat(raw.fileno()))
        if buffering == 0:
            return raw
        if "+" in mode:
            buffer = io.BufferedRandom(raw)
        else:
            buffer = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline)
        text.mode = mode
        return text

    return open_counted


def _counted_os_open(layer):
    real = os.open

    @functools.wraps(real)
    def open_counted(path, flags, mode=0o777, *, dir_fd=None):
        place = layer.find(path, dir_fd)
        if place is not None:
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            layer.count("create" if writes else "read", place)
        return real(path, flags, mode, dir_fd=dir_fd)

    return open_counted


def _counted_os_write(layer):
    real = os.write

    @functools.wraps(real)
    def write_counted(descriptor, data):
        place = layer.find(descriptor)
        if place is not None:
            layer.mark(os.fstat(descriptor))
            layer.count("write", place, lambda: real(descriptor, data[: len(data) // 2]))
        return real(descriptor, data)

    return write_counted


def _counted_flush(layer):
    real = os.fsync

    @functools.wraps(real)
    def flush_counted(descriptor):
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        place = layer.find(number)
        if place is None:
            return real(descriptor)
        # The layer remembers what is flushed; to wait for the disk would only take time.
        layer.count("flush", place)
        return layer.mark(os.fstat(number), flushed=True)

    return flush_counted


def _counted(layer, kind, real, target=0):
    """Wrap a function of paths; the last of them is the one that counts."""

    @functools.wraps(real)
    def counted(*paths, **options):
        names = [key for key in ("dir_fd", "dst_dir_fd") if options.get(key) is not None]
        place = layer.find(paths[target], options[names[0]] if names else None)
        if place is not None:
            layer.count(kind, place)
        return real(*paths, **options)

    return counted


def _refused(*arguments):
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def wrap_libraries(layer):
    """Count the functions of compiled libraries that read or write a whole file."""
    import pandas as pd
    import safetensors
    import safetensors.numpy
    import safetensors.torch
    import torch
    import xarray as xr

    _wrap_writer(layer, xr.Dataset, "to_netcdf", 1)
    _wrap_writer(layer, pd.DataFrame, "to_parquet", 1)
    _wrap_writer(layer, torch, "save", 1)
    for module in (safetensors.torch, safetensors.numpy):
        _wrap_writer(layer, module, "save_file", 1)
        _wrap_reader(layer, module, "load_file", 0)
    _wrap_writer(layer, safetensors.torch, "save_model", 1)
    _wrap_reader(layer, safetensors.torch, "load_model", 1)
    _wrap_reader(layer, torch, "load", 0)
    _wrap_reader(layer, pd, "read_parquet", 0)


def _place(layer, arguments, position):
    file = arguments[position] if len(arguments) > position else None
    return layer.find(file) if isinstance(file, str | os.PathLike) else None


def _wrap_writer(layer, owner, name, position):
    real = getattr(owner, name)

    @functools.wraps(real)
    def write_counted(*arguments, **options):
        place = _place(layer, arguments, position)
        if place is None:
            return real(*arguments, **options)

        def half():
            real(*arguments, **options)
            os.truncate(place, os.path.getsize(place) // 2)

        layer.count("write", place, half)
        result = real(*arguments, **options)
        layer.mark(os.stat(place))
        return result

    setattr(owner, name, write_counted)


def _wrap_reader(layer, owner, name, position):
    real = getattr(owner, name)

    @functools.wraps(real)
    def read_counted(*arguments, **options):
        place = _place(layer, arguments, position)
        if place is not None:
            layer.count("read", place)
        return real(*arguments, **options)

    setattr(owner, name, read_counted)


def install_from_environment():
    """Install the layer that the environment asks for.

    ``UNITLENS_FAULT`` is the fault, or ``count``; ``UNITLENS_FAULT_ROOT`` the directory;
    ``UNITLENS_FAULT_REPORT`` the file for the counts.
    """
    text = os.environ.get("UNITLENS_FAULT")
    if text:
        fault = None if text == "count" else Fault.parse(text)
        root, report = os.environ["UNITLENS_FAULT_ROOT"], os.environ.get("UNITLENS_FAULT_REPORT")
        Layer(Path(root), fault, report).install()
