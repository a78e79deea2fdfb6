"""Data sets of image files: listed once, read whenever a batch needs them."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.config.networks import DatasetSpec
from unitlens.data.dataset_record import (
    MEASURED_SAMPLES,
    Moments,
    PreparedSplits,
    SplitRecord,
    digest,
    remedy,
    split_file,
)
from unitlens.data.folder_notes import folder_notes
from unitlens.data.image_folders import (
    ImageFile,
    class_names,
    label_by_folder,
    labels_of,
    list_files,
    readable_name,
    split_folders,
    write_list,
)
from unitlens.data.image_reading import opened_image, read_image, stored_orientation
from unitlens.data.labels import stratified_subset
from unitlens.data.normalisation import PixelHistogram
from unitlens.data.split import SampleReader
from unitlens.errors import DatasetError

logger = logging.getLogger("unitlens")


class FilesReader:
    """Reads the images of one split.

    Parameters
    ----------
    folder
        Folder of the split.
    files
        The images.
    size
        Side in pixels to which images are resized and cropped.
    interpolation
        ``bilinear`` or ``bicubic``.
    prepared
        Directory of the prepared data set, for the messages of errors.
    """

    streams = True

    def __init__(
        self, folder: Path, files: list[ImageFile], size: int, interpolation: str, prepared: Path
    ) -> None:
        self._folder, self._files, self._prepared = folder, files, prepared
        self._size, self._interpolation = size, interpolation

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images at `indices`, uint8 of shape (samples, 3, size, size).

        As many threads read as torch computes with.

        Raises
        ------
        DatasetError
            Where a file is no image that can be read, or its size is not the listed one.
        """
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            images = list(pool.map(self._read, indices.tolist()))
        return torch.from_numpy(np.stack(images))

    def check_headers(self) -> list[int]:
        """Check the headers of all images, without decoding them; return their orientations.

        Raises
        ------
        DatasetError
            Where a file is no image that can be read.
        """
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(self._check_header, self._files))

    def _check_header(self, file: ImageFile) -> int:
        with opened_image(self._folder / file.path, self._size) as image:
            return stored_orientation(image)

    def _read(self, index: int) -> npt.NDArray[np.uint8]:
        file = self._files[index]
        path = self._folder / file.path
        try:
            pixels = read_image(path, self._size, self._interpolation)
        except DatasetError as error:
            raise DatasetError(f"{error}, then {remedy(self._prepared)}") from error
        now = path.stat().st_size
        if now != file.size:
            raise DatasetError(
                f"the image {path} has {now} bytes, but had {file.size} when the data set was "
                f"prepared; restore it, or {remedy(self._prepared)}"
            )
        return pixels


def prepare_file_set(
    spec: DatasetSpec, shape: tuple[int, int, int], directory: Path, *, data: Path
) -> PreparedSplits:
    """List the images of both splits, check their headers, and write the lists.

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
        no image that can be read.
    """
    folders = split_folders(spec, data)
    for note in folder_notes(folders):
        logger.warning("data set %s: %s", spec.name, note)
    labels = label_by_folder(spec, folders)
    readers, files, records = {}, {}, {}
    for split, folder in folders.items():
        listed = list_files(folder, labels)
        name = f"{spec.name} {split}"
        chosen = stratified_subset(labels_of(listed), spec.subset_sizes[split], name=name)
        files[split] = [listed[index] for index in chosen]
        readers[split] = FilesReader(folder, files[split], shape[-1], spec.interpolation, directory)
        orientations = readers[split].check_headers()
        records[split] = _record(folder, files[split], orientations)
    for split, chosen_files in files.items():
        write_list(directory / split_file("files", split), chosen_files)
    return PreparedSplits(
        kind="files",
        splits=records,
        classes=class_names(labels),
        input_shape=shape,
        scale=255.0,
        measure=lambda: measure_subset(readers["train"], labels_of(files["train"]), shape[0]),
    )


def _record(folder: Path, files: list[ImageFile], orientations: list[int]) -> SplitRecord:
    turns = ["" if turn == 1 else f"\torientation {turn}" for turn in orientations]
    text = "\n".join(
        f"{file.path}\t{file.label}\t{file.size}{turn}"
        for file, turn in zip(files, turns, strict=True)
    )
    content = digest(text.encode())
    return SplitRecord(
        samples=len(files), hash=content, folder=str(readable_name(folder.resolve()))
    )


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
