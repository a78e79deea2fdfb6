"""What is known of a data set before it is prepared."""

from dataclasses import dataclass
from pathlib import Path

from unitlens.config.networks import DatasetSpec
from unitlens.errors import DatasetError


@dataclass(frozen=True)
class DatasetFacts:
    """Shape of one input, number of classes, and number of samples of each split."""

    input_shape: tuple[int, ...]
    classes: int
    samples: dict[str, int]


# As their publishers give them; the sizes of the built-in sets are those of our own splits.
_KNOWN = {
    "mnist5k": DatasetFacts((1, 28, 28), 10, {"train": 4000, "test": 1000}),
    "digits": DatasetFacts((1, 8, 8), 10, {"train": 1437, "test": 360}),
    "mnist": DatasetFacts((1, 28, 28), 10, {"train": 60_000, "test": 10_000}),
    "fashion_mnist": DatasetFacts((1, 28, 28), 10, {"train": 60_000, "test": 10_000}),
    "cifar10": DatasetFacts((3, 32, 32), 10, {"train": 50_000, "test": 10_000}),
    "cifar100": DatasetFacts((3, 32, 32), 100, {"train": 50_000, "test": 10_000}),
    "svhn": DatasetFacts((3, 32, 32), 10, {"train": 73_257, "test": 26_032}),
    "imagenet": DatasetFacts((3, 224, 224), 1000, {"train": 1_281_167, "test": 50_000}),
}


def describe_dataset(spec: DatasetSpec, *, data: Path) -> DatasetFacts:
    """Say what is known of a data set without preparing it.

    Parameters
    ----------
    spec
        The data set.
    data
        Directory that data sets are read from.

    Returns
    -------
    Shape of one input, number of classes and of samples. Image folders are listed; a user's
    function is called.

    Raises
    ------
    DatasetError
        Where a folder does not exist, a user's function fails, or more samples are asked for than
        there are.
    """
    if spec.name in _KNOWN:
        facts = _KNOWN[spec.name]
        if spec.image_size is not None and spec.name == "imagenet":
            facts = DatasetFacts(
                (3, spec.image_size, spec.image_size), facts.classes, facts.samples
            )
    elif spec.name == "image_folder":
        facts = _describe_folders(spec, data)
    else:
        facts = _describe_function(spec)
    wanted = {"train": spec.train_samples, "test": spec.test_samples}
    for split, count in wanted.items():
        if count is not None and count > facts.samples[split]:
            raise DatasetError(
                f"dataset.{split}_samples = {count}: must be at most the {facts.samples[split]} "
                f"samples of {spec.name}"
            )
    samples = {split: wanted.get(split) or count for split, count in facts.samples.items()}
    return DatasetFacts(facts.input_shape, facts.classes, samples)


def _describe_folders(spec: DatasetSpec, data: Path) -> DatasetFacts:
    from unitlens.data.image_files import (
        DEFAULT_SIZE,
        SUFFIXES,
        class_labels,
        split_folders,
    )

    folders = split_folders(spec, data)
    classes = max(class_labels(spec, folders).values()) + 1
    samples = {
        split: sum(path.suffix.lower() in SUFFIXES for path in root.glob("*/**/*"))
        for split, root in folders.items()
    }
    size = spec.image_size or DEFAULT_SIZE
    return DatasetFacts((3, size, size), classes, samples)


def _describe_function(spec: DatasetSpec) -> DatasetFacts:
    from unitlens.data.user_sets import open_user_set, read_item

    splits = open_user_set(spec)
    first, _ = read_item(splits["train"], 0, spec.name)
    samples = {split: len(dataset) for split, dataset in splits.items()}
    # The number of classes is not known without reading every label; layers do not depend on it.
    return DatasetFacts(first.shape, 1000, samples)
