"""Data sets of image files: listed once, read whenever a batch needs them."""

import csv
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from unitlens.catalogue.datasets import DATASETS, ImageFileSource
from unitlens.config.networks import DatasetSpec
from unitlens.data.dataset_record import (
    MEASURED_SAMPLES,
    Moments,
    PixelHistogram,
    PreparedSplits,
    SplitRecord,
    digest,
)
from unitlens.data.labels import stratified_subset
from unitlens.data.split import SampleReader
from unitlens.errors import DatasetError, nearest, one_line
from unitlens.local_files import replacing

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class ImageFile:
    """An image file.

    Attributes
    ----------
    path
        Path inside the folder of the split.
    label
        Label of its class.
    size
        Size in bytes.
    """

    path: str
    label: int
    size: int


class FilesReader:
    """Reads the images of one split.

    Parameters
    ----------
    folder
        Folder of the split.
    paths
        Paths of the images inside the folder.
    size
        Side in pixels to which images are resized and cropped.
    interpolation
        ``bilinear`` or ``bicubic``.
    """

    streams = True

    def __init__(self, folder: Path, paths: list[str], size: int, interpolation: str) -> None:
        self._folder, self._paths = folder, paths
        self._size, self._interpolation = size, interpolation

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images at `indices`, uint8 of shape (samples, 3, size, size).

        As many threads read as torch computes with.
        """
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            images = list(pool.map(self._read, indices.tolist()))
        return torch.from_numpy(np.stack(images))

    def _read(self, index: int) -> npt.NDArray[np.uint8]:
        return read_image(self._folder / self._paths[index], self._size, self._interpolation)


def read_image(path: Path, size: int, interpolation: str) -> npt.NDArray[np.uint8]:
    """Read an image file as RGB, resize its shorter side and crop the centre.

    Parameters
    ----------
    path
        The file.
    size
        Side of the result in pixels.
    interpolation
        ``bilinear`` or ``bicubic``.

    Returns
    -------
    Pixels of shape (3, size, size), uint8.

    Raises
    ------
    DatasetError
        Where the file is missing or no image.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(
            f"cannot read the image {path}: {one_line(error)}; restore it or remove it, and "
            "prepare the data set again"
        ) from error
    width, height = image.size
    short = min(width, height)
    if short != size:
        wide, high = size * width // short, size * height // short
        image = image.resize((wide, high), _RESAMPLING[interpolation])
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    image = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def prepare_file_set(
    spec: DatasetSpec, shape: tuple[int, int, int], directory: Path, *, data: Path
) -> PreparedSplits:
    """List the images of both splits, check the files, and write the lists.

    Parameters
    ----------
    spec
        The data set.
    shape
        Shape of one input, (3, size, size).
    directory
        Directory of the prepared data set.
    data
        Directory that data sets are read from.

    Raises
    ------
    DatasetError
        Where a folder is missing or holds no image, a class folder has no label, or a file is
        empty.
    """
    folders = split_folders(spec, data)
    labels = label_by_folder(spec, folders)
    files = {
        split: _subset(
            _list_files(folder, labels), spec.subset_sizes[split], f"{spec.name} {split}"
        )
        for split, folder in folders.items()
    }
    for split, listed in files.items():
        _write_list(directory / f"{split}.csv", listed)
    train_labels = np.array([file.label for file in files["train"]])
    paths = [file.path for file in files["train"]]
    reader = FilesReader(folders["train"], paths, shape[-1], spec.interpolation)
    return PreparedSplits(
        kind="files",
        splits={split: _record(folder, files[split]) for split, folder in folders.items()},
        classes=_class_names(labels),
        input_shape=shape,
        scale=255.0,
        measure=lambda: measure_subset(reader, train_labels, shape[0]),
    )


def _record(folder: Path, files: list[ImageFile]) -> SplitRecord:
    text = "\n".join(f"{file.path}\t{file.label}\t{file.size}" for file in files)
    content = digest(text.encode())
    return SplitRecord(samples=len(files), hash=content, folder=str(folder.resolve()))


def split_folders(spec: DatasetSpec, data: Path) -> dict[str, Path]:
    """Return the folder of each split.

    Relative paths are relative to the data directory.

    Raises
    ------
    DatasetError
        Where a folder does not exist.
    """
    source = DATASETS[spec.name].source
    declared = source.folders if isinstance(source, ImageFileSource) else None
    names: Mapping[Any, str] = spec.folders if declared is None else declared
    folders = {split: data / names[split] for split in ("train", "test")}
    for split, folder in folders.items():
        if not folder.is_dir():
            raise DatasetError(
                f"data set {spec.name}: expected the {split} images as {folder}/CLASS/IMAGE "
                "(one folder a class), but there is no such folder; put them there, "
                "they cannot be downloaded"
            )
    return folders


def label_by_folder(spec: DatasetSpec, folders: Mapping[str, Path]) -> dict[str, int]:
    """Return the label of each class folder: from `class_indices`, or its rank among all folders.

    Raises
    ------
    DatasetError
        Where there is no class folder, a class folder has no label, or a label is negative.
    """
    names = sorted(
        {entry.name for folder in folders.values() for entry in folder.iterdir() if entry.is_dir()}
    )
    if not names:
        searched = " and ".join(map(str, folders.values()))
        raise DatasetError(
            f"data set {spec.name}: {searched} hold no class folders; put one folder a class there"
        )
    if not spec.class_indices:
        return {name: rank for rank, name in enumerate(names)}
    for name in names:
        if name not in spec.class_indices:
            raise DatasetError(
                f"dataset.class_indices has no label for the class folder '{name}'; "
                f"{nearest(name, spec.class_indices)}"
            )
    if min(spec.class_indices.values()) < 0:
        lowest = min(spec.class_indices.values())
        raise DatasetError(
            f"dataset.class_indices holds the label {lowest}, but labels count from 0"
        )
    return dict(spec.class_indices)


def _class_names(labels: Mapping[str, int]) -> tuple[str, ...]:
    names = [str(label) for label in range(max(labels.values()) + 1)]
    for name, label in labels.items():
        names[label] = name
    return tuple(names)


def _list_files(folder: Path, labels: Mapping[str, int]) -> list[ImageFile]:
    files = []
    for name in sorted(entry.name for entry in folder.iterdir() if entry.is_dir()):
        images = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not images:
            raise DatasetError(
                f"the class folder {folder / name} holds no image ({', '.join(SUFFIXES)}); "
                "fill it or remove it"
            )
        for path in images:
            size = path.stat().st_size
            if size == 0:
                raise DatasetError(f"the image {path} is empty; restore it or remove it")
            files.append(ImageFile(path.relative_to(folder).as_posix(), labels[name], size))
    return files


def _subset(files: list[ImageFile], samples: int | None, name: str) -> list[ImageFile]:
    labels = np.array([file.label for file in files])
    return [files[index] for index in stratified_subset(labels, samples, name=name)]


def measure_subset(
    reader: SampleReader, labels: npt.NDArray[np.int64], channels: int
) -> tuple[Moments, str]:
    """Measure mean and deviation of uint8 inputs on a seeded, stratified subset.

    Parameters
    ----------
    reader
        Reads the training inputs.
    labels
        Labels of the training set, of shape (samples,).
    channels
        Number of channels of an input.

    Returns
    -------
    The moments of the inputs over 255, and a text that says over which samples.
    """
    samples = min(MEASURED_SAMPLES, len(labels))
    indices = stratified_subset(labels, samples, name="the training set")
    histogram = PixelHistogram(channels)
    for start in range(0, samples, 100):
        histogram.add(reader.read(indices[start : start + 100]).numpy())
    every = samples == len(labels)
    measured = "the training set" if every else f"{samples} of the {len(labels)} training samples"
    return histogram.moments(255.0), f"measured on {measured}"


def _write_list(path: Path, files: list[ImageFile]) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "size"))
        writer.writerows((file.path, file.label, file.size) for file in files)


def read_list(path: Path) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the paths and the labels of the images in a split's list."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    return [row[0] for row in rows], np.array([int(row[1]) for row in rows], np.int64)
