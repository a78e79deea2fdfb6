"""Folders of image files, one folder a class: which files are samples, and their labels."""

import csv
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unitlens.catalogue.datasets import DATASETS, ImageFileSource
from unitlens.config.networks import DatasetSpec
from unitlens.errors import DatasetError, first_line, nearest
from unitlens.local_files import replacing

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
# Folders that file servers and archivers put beside or into the user's.
_FOREIGN_FOLDERS = ("@eaDir", "__MACOSX")
# What to do with a list of names and labels beside one folder of images.
_OF_LISTS = (
    "images whose labels stand in a list, such as a CSV file, are read by a function of yours: "
    "dataset.name = module:function"
)


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
        if folder.is_file():
            raise DatasetError(
                f"data set {spec.name}: the {split} images {folder} are a file, but must be a "
                f"folder with one folder a class; {_OF_LISTS}"
            )
        if not folder.is_dir():
            raise DatasetError(
                f"data set {spec.name}: expected the {split} images as {folder}/CLASS/IMAGE "
                "(one folder a class), but there is no such folder; put them there, "
                "they cannot be downloaded"
            )
    return folders


def class_folders(folder: Path) -> list[Path]:
    """Return the class folders of a split, by name, without hidden and foreign ones.

    Raises
    ------
    DatasetError
        Where the name of a class folder is not UTF-8.
    """
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    found = [entry for entry in entries if not _is_foreign(entry.name) and entry.is_dir()]
    return [readable_name(entry) for entry in found]


def image_paths(folder: Path) -> list[Path]:
    """Return the files in a class folder and in the folders under it that are images by name.

    Hidden files and folders are no images, nor are folders. Links to folders are not followed.

    Raises
    ------
    DatasetError
        Where a folder cannot be listed, or the name of an image is not UTF-8.
    """
    return sorted(
        readable_name(Path(place) / name)
        for place, _, names in walk_folders(folder)
        for name in names
        if is_image_name(name)
    )


def is_image_name(name: str) -> bool:
    """Tell whether a file is an image by its name; hidden files are none."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def folder_state(folder: Path) -> tuple[int, int]:
    """Return the number of image files in a class folder, and the time of its latest change.

    The files themselves are not looked at, for there may be a million.

    Returns
    -------
    The number, and the latest modification time of the folder and the folders under it, in
    nanoseconds: a file that is added, removed or renamed changes the time of its folder.
    """
    places = list(walk_folders(folder))
    count = sum(name.lower().endswith(SUFFIXES) for _, _, names in places for name in names)
    return count, max(Path(place).stat().st_mtime_ns for place, _, _ in places)


def walk_folders(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield a folder and the folders under it, without hidden, foreign and linked ones.

    Parameters
    ----------
    folder
        The folder.

    Yields
    ------
    The path of a folder, the names of the folders in it that are left out, and those of its files.

    Raises
    ------
    DatasetError
        Where a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(
            f"the folder {shown_path(str(error.filename))} cannot be listed ({first_line(error)}); "
            "make it readable or remove it"
        ) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        left_out = [
            name for name in folders if _is_foreign(name) or (Path(place) / name).is_symlink()
        ]
        folders[:] = [name for name in folders if name not in left_out]
        yield place, left_out, names


def _is_foreign(name: str) -> bool:
    return name.startswith(".") or name in _FOREIGN_FOLDERS


def readable_name(path: Path) -> Path:
    """Return a path as it is, where all of it is UTF-8.

    Raises
    ------
    DatasetError
        Where it is not: neither a record nor a message could hold it.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DatasetError(
            f"the path {shown_path(path)} is not UTF-8; rename the file or folder"
        ) from None
    return path


def shown_path(path: Path | str) -> str:
    r"""Return a path as text that can be printed, with bytes that are not UTF-8 as escapes.

    Examples
    --------
    >>> shown_path("caf\udce9.png")
    'caf\\xe9.png'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def label_by_folder(spec: DatasetSpec, folders: Mapping[str, Path]) -> dict[str, int]:
    """Return the label of each class folder: from `class_indices`, or its rank among all folders.

    Raises
    ------
    DatasetError
        Where there is no class folder, a class folder has no label, or a label is negative.
    """
    names = sorted({entry.name for folder in folders.values() for entry in class_folders(folder)})
    if not names:
        searched = " and ".join(map(str, folders.values()))
        raise DatasetError(
            f"data set {spec.name}: {searched} hold no class folders; put one folder a class "
            f"there; {_OF_LISTS}"
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


def class_names(labels: Mapping[str, int]) -> tuple[str, ...]:
    """Return the names of the classes by label; a label without a folder is named by its number."""
    names = [str(label) for label in range(max(labels.values()) + 1)]
    for name, label in labels.items():
        names[label] = name
    return tuple(names)


def list_files(folder: Path, labels: Mapping[str, int]) -> list[ImageFile]:
    """Return all images of a split, by the names of their classes and paths.

    Raises
    ------
    DatasetError
        Where a class folder holds no image, or an image is empty or no file.
    """
    files = []
    for class_folder in class_folders(folder):
        images = image_paths(class_folder)
        if not images:
            raise DatasetError(
                f"the class folder {class_folder} holds no image ({', '.join(SUFFIXES)}); "
                "fill it or remove it"
            )
        for path in images:
            inside = path.relative_to(folder).as_posix()
            files.append(ImageFile(inside, labels[class_folder.name], _image_size(path)))
    return files


def _image_size(path: Path) -> int:
    try:
        state = path.stat()
    except OSError as error:
        what = "is a link to nothing" if path.is_symlink() else f"cannot be read ({error.strerror})"
        raise DatasetError(f"the image {path} {what}; restore it or remove it") from error
    if not stat.S_ISREG(state.st_mode):
        raise DatasetError(f"the image {path} is no file; rename it or remove it")
    if state.st_size == 0:
        raise DatasetError(f"the image {path} is empty; restore it or remove it")
    return state.st_size


def write_list(path: Path, files: list[ImageFile]) -> None:
    """Write the images of a split, whole or not at all."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "size"))
        writer.writerows((file.path, file.label, file.size) for file in files)


def read_list(path: Path) -> list[ImageFile]:
    """Return the images in a split's list."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    return [ImageFile(row[0], int(row[1]), int(row[2])) for row in rows]


def labels_of(files: list[ImageFile]) -> npt.NDArray[np.int64]:
    """Return the labels of images, of shape (samples,)."""
    return np.array([file.label for file in files], np.int64)
