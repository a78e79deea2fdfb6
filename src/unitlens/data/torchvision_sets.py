"""Torchvision's data sets that fit into memory."""

from pathlib import Path
from typing import Any

import numpy as np

from unitlens.catalogue.datasets import DatasetDeclaration, TorchvisionSource
from unitlens.data.memory_sets import SPLITS, Arrays, ArraySet
from unitlens.errors import DatasetError, one_line


def read_torchvision(
    declared: DatasetDeclaration, source: TorchvisionSource, data: Path, *, download: bool
) -> ArraySet:
    """Read one of torchvision's data sets.

    Parameters
    ----------
    declared
        Declaration of the data set.
    source
        Its class, and where the class expects the files.
    data
        Directory that data sets are read from.
    download
        Whether missing files may be downloaded to `data`.

    Returns
    -------
    Both splits, with inputs of shape (samples, channels, height, width).

    Raises
    ------
    DatasetError
        Where files are missing or damaged: the message names the expected files and their folder.
    """
    try:
        sets = {split: _open(source, data, split, download=download) for split in SPLITS}
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
        remedy = "the download failed" if download else "set `download: true` or put them there"
        raise DatasetError(
            f"data set {declared.name}: expected {source.files} (complete, unpacked) in "
            f"{data / source.folder}, but: {one_line(error)}; {remedy}"
        ) from error
    splits = {split: _read_arrays(dataset) for split, dataset in sets.items()}
    numbers = tuple(str(label) for label in range(declared.classes or 0))
    return ArraySet(splits, tuple(getattr(sets["train"], "classes", numbers)))


def _open(source: TorchvisionSource, data: Path, split: str, *, download: bool) -> Any:
    from torchvision import datasets

    selected = split if source.split_argument == "split" else split == "train"
    dataset_class = getattr(datasets, source.class_name)
    return dataset_class(str(data), download=download, **{source.split_argument: selected})


def _read_arrays(dataset: Any) -> Arrays:
    """Bring torchvision's own arrays to (samples, channels, height, width)."""
    labels = np.asarray(dataset.labels if hasattr(dataset, "labels") else dataset.targets)
    pixels = np.asarray(dataset.data)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.transpose(0, 3, 1, 2)
    return Arrays(pixels, labels.astype(np.int64))
