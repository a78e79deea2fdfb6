"""Checks of files in the idx format, in which MNIST and its like are published."""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from unitlens.catalogue.datasets import DatasetDeclaration
from unitlens.errors import DatasetError

_BYTES = b"\0\0\x08"  # the mark of the format, with unsigned bytes as values
_SPLITS = {"train": "train", "t10k": "test"}
_HEADER = 16  # bytes of the header of images: mark, number of dimensions, three sizes


def check_idx_files(
    declared: DatasetDeclaration,
    folder: Path,
    names: tuple[str, ...],
    packed: Mapping[str, str],
    remedy: str,
) -> None:
    """Check that idx files hold the images and the labels of a data set.

    Parameters
    ----------
    declared
        Declaration of the data set.
    folder
        Folder of the files.
    names
        Names of the files: ``train-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte`` and so on.
    packed
        Name of each packed file, which may lie beside its file, to its md5.
    remedy
        What to do about a wrong file, for the end of the message.

    Raises
    ------
    DatasetError
        Where a file is cut off, or holds another number of samples or other labels than are
        declared, or other bytes than its packed file.
    """
    for name in names:
        start, _, kind = name.partition("-")
        samples = (declared.samples or {})[_SPLITS[start]]
        shape = (samples, *declared.input_shape[1:]) if kind.startswith("images") else (samples,)
        found = _describe_idx(folder / name, shape)
        if found is None and kind.startswith("labels"):
            found = _describe_labels(folder / name, declared.classes or 0)
        if found is None and _is_not_packed(folder / name, packed.get(f"{name}.gz")):
            found = f"differs from what {name}.gz holds"
        if found is not None:
            raise DatasetError(
                f"{folder / name} is not the file of {declared.name}: it {found}; {remedy}"
            )


def _describe_idx(path: Path, shape: tuple[int, ...]) -> str | None:
    """Return what is wrong with the form of a file, None where nothing is."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if header[:3] != _BYTES or len(header) < 4 + 4 * header[3]:
        return "does not begin like an idx file of bytes"
    sizes = tuple(np.frombuffer(header, ">i4", header[3] if header[3] < 4 else 0, 4).tolist())
    if sizes != shape:
        return f"holds values of shape {sizes}, not {shape}"
    expected, found = 4 + 4 * len(shape) + prod(shape), path.stat().st_size
    return None if found == expected else f"has {found} bytes, not {expected}"


def _describe_labels(path: Path, classes: int) -> str | None:
    highest = int(np.fromfile(path, np.uint8, offset=8).max())
    return None if highest < classes else f"holds the label {highest}, not only 0..{classes - 1}"


def _is_not_packed(path: Path, md5: str | None) -> bool:
    """Tell whether a file differs from the packed file beside it that has the known md5."""
    packed = path.with_name(f"{path.name}.gz")
    if md5 is None or not packed.is_file():
        return False
    content = packed.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return False
    try:
        return gzip.decompress(content) != path.read_bytes()
    except (OSError, EOFError, zlib.error):
        return False
