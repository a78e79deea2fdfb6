"""Shape and sizes of a data set before it is prepared."""

from dataclasses import dataclass
from pathlib import Path

from unitlens.catalogue.datasets import DATASETS
from unitlens.config.networks import DatasetSpec
from unitlens.errors import DatasetError

# Stands for the classes of a user's data set: their number is known only after all labels are read.
ASSUMED_CLASSES = 1000


@dataclass(frozen=True)
class DatasetDimensions:
    """The shape and the sizes of a data set.

    Attributes
    ----------
    input_shape
        Shape of one input.
    classes
        Number of classes; ``ASSUMED_CLASSES`` for a user's data set.
    samples
        Number of samples of each split.
    """

    input_shape: tuple[int, ...]
    classes: int
    samples: dict[str, int]


def describe_dataset(spec: DatasetSpec, *, data: Path) -> DatasetDimensions:
    """Return shape and sizes of a data set without preparing it.

    For a declared data set they follow from the declaration. Image folders are listed. A user's
    function is called, and its first sample is read.

    Parameters
    ----------
    spec
        The data set.
    data
        Directory that data sets are read from.

    Returns
    -------
    Shape of one input, number of classes, and samples of each split after the subsets are drawn.

    Raises
    ------
    DatasetError
        Where a folder does not exist, a user's function fails, or more samples are asked for than
        the data set has.
    """
    available = _available(spec, data)
    samples = dict(available.samples)
    for split, size in spec.subset_sizes.items():
        if size is not None and size > samples[split]:
            raise DatasetError(
                f"dataset.{split}_samples = {size}: must be at most the {samples[split]} samples "
                f"of {spec.name}; ask for fewer, or set it to null for all"
            )
        samples[split] = size or samples[split]
    return DatasetDimensions(available.input_shape, available.classes, samples)


def _available(spec: DatasetSpec, data: Path) -> DatasetDimensions:
    """Return the dimensions of the whole data set."""
    declared = DATASETS.get(spec.name)
    if declared is None:
        return _describe_function(spec)
    shape = declared.shape_at(spec.image_size)
    if declared.classes is None or declared.samples is None:
        return _describe_folders(spec, shape, data)
    return DatasetDimensions(shape, declared.classes, dict(declared.samples))


def _describe_folders(spec: DatasetSpec, shape: tuple[int, ...], data: Path) -> DatasetDimensions:
    from unitlens.data.image_folders import (
        class_folders,
        image_paths,
        label_by_folder,
        split_folders,
    )

    folders = split_folders(spec, data)
    classes = max(label_by_folder(spec, folders).values()) + 1
    samples = {
        split: sum(len(image_paths(place)) for place in class_folders(folder))
        for split, folder in folders.items()
    }
    return DatasetDimensions(shape, classes, samples)


def _describe_function(spec: DatasetSpec) -> DatasetDimensions:
    from unitlens.data.dictionary_items import ItemKeys
    from unitlens.data.user_sets import open_user_set, read_item

    splits = open_user_set(spec)
    first, _ = read_item(splits["train"], 0, spec.name, ItemKeys.of(spec))
    samples = {split: len(dataset) for split, dataset in splits.items()}
    return DatasetDimensions(first.shape, ASSUMED_CLASSES, samples)
