"""Data sets of image files, listed once and read when they are needed."""

import csv
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from unitlens.config.networks import DatasetSpec
from unitlens.data.dataset_record import (
    MEASURED_SAMPLES,
    Moments,
    PixelHistogram,
    Prepared,
    SplitRecord,
    digest,
)
from unitlens.data.labels import stratified_subset
from unitlens.data.split import SampleReader
from unitlens.errors import DatasetError, nearest

IMAGENET_FOLDERS = {"train": "train", "test": "val"}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
DEFAULT_SIZE = 224
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class ImageFile:
    """A file: its path inside the split's folder, its label, its size in bytes."""

    path: str
    label: int
    size: int


class FilesReader:
    """Reads images of one split: uint8, (samples, 3, image_size, image_size)."""

    streams = True

    def __init__(self, folder: Path, paths: list[str], size: int, interpolation: str) -> None:
        self._folder, self._paths = folder, paths
        self._size, self._interpolation = size, interpolation

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Read the images at `indices`, by as many threads as torch computes with."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            images = list(pool.map(self._read, indices.tolist()))
        return torch.from_numpy(np.stack(images))

    def _read(self, index: int) -> npt.NDArray[np.uint8]:
        return read_image(self._folder / self._paths[index], self._size, self._interpolation)


def read_image(path: Path, size: int, interpolation: str) -> npt.NDArray[np.uint8]:
    """Read a file as RGB, its shorter side resized to `size`, the centre cut out.

    Returns
    -------
    Pixels of shape (3, size, size).

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
            f"cannot read the image {path}: {error}; restore it or remove it and prepare again"
        ) from error
    width, height = image.size
    short = min(width, height)
    if short != size:
        wide, high = size * width // short, size * height // short
        image = image.resize((wide, high), _RESAMPLING[interpolation])
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    image = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def prepare_file_set(spec: DatasetSpec, directory: Path, *, data: Path) -> Prepared:
    """List the images of both splits, check them, and write the lists to `directory`."""
    folders = split_folders(spec, data)
    known = class_labels(spec, folders)
    size = spec.image_size or DEFAULT_SIZE
    records, listed = {}, {}
    for name, folder in folders.items():
        wanted = spec.train_samples if name == "train" else spec.test_samples
        files = _subset(_list_files(folder, known), wanted, f"{spec.name} {name}")
        listed[name] = files
        _write_list(directory / f"{name}.csv", files)
        text = "\n".join(f"{file.path}\t{file.label}\t{file.size}" for file in files)
        records[name] = SplitRecord(
            samples=len(files), hash=digest(text.encode()), folder=str(folder.resolve())
        )
    reader = FilesReader(
        folders["train"], [file.path for file in listed["train"]], size, spec.interpolation
    )
    labels = np.array([file.label for file in listed["train"]])
    return Prepared(
        "files", records, _class_names(known), (3, size, size), 255.0,
        lambda: measure_subset(reader, labels, 3),
    )  # fmt: skip


def split_folders(spec: DatasetSpec, data: Path) -> dict[str, Path]:
    """Return the folder of each split; relative ones are read from the data directory."""
    names = IMAGENET_FOLDERS if spec.name == "imagenet" else spec.folders
    folders = {split: data / names[split] for split in ("train", "test")}
    for split, folder in folders.items():
        if not folder.is_dir():
            raise DatasetError(
                f"data set {spec.name}: expected the {split} images as {folder}/CLASS/IMAGE "
                "(one folder a class), but there is no such folder; put them there, "
                "they cannot be downloaded"
            )
    return folders


def class_labels(spec: DatasetSpec, folders: Mapping[str, Path]) -> dict[str, int]:
    """Map each class folder to its label: by `class_indices`, or its rank among all of them."""
    found = {
        entry.name for folder in folders.values() for entry in folder.iterdir() if entry.is_dir()
    }
    if not found:
        places = " and ".join(map(str, folders.values()))
        raise DatasetError(
            f"data set {spec.name}: {places} hold no class folders; put one folder a class there"
        )
    if not spec.class_indices:
        return {name: rank for rank, name in enumerate(sorted(found))}
    for name in sorted(found):
        if name not in spec.class_indices:
            raise DatasetError(
                f"dataset.class_indices has no label for the class folder '{name}'; "
                f"{nearest(name, spec.class_indices)}"
            )
    if min(spec.class_indices.values()) < 0:
        raise DatasetError("dataset.class_indices holds a negative label; labels count from 0")
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
    """Measure mean and deviation of uint8 inputs on a seeded, stratified subset."""
    samples = min(MEASURED_SAMPLES, len(labels))
    chosen = stratified_subset(labels, samples, name="the training set")
    histogram = PixelHistogram(channels)
    for start in range(0, samples, 100):
        histogram.add(reader.read(chosen[start : start + 100]).numpy())
    of = f"{samples} of the {len(labels)} training samples"
    return histogram.moments(255.0), f"measured on {of}" if samples < len(
        labels
    ) else "measured on the training set"


def _write_list(path: Path, files: list[ImageFile]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "size"))
        writer.writerows((file.path, file.label, file.size) for file in files)
    partial.replace(path)


def read_list(path: Path) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the paths and labels of a split's list."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    return [row[0] for row in rows], np.array([int(row[1]) for row in rows], np.int64)
