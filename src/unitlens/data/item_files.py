"""The file that an item of a data set is read from, where the data set lists its files."""

import os
from typing import Any

from torch.utils.data import Subset

from unitlens.data.items_ahead import ItemsAhead


def file_of_item(dataset: Any, index: int) -> str | None:
    """Return the path of an item's file.

    The path is known of data sets with an attribute ``samples`` that lists paths, alone or with
    labels, as the folders of torchvision do, and of subsets of these.

    Parameters
    ----------
    dataset
        Any data set.
    index
        Index of the item.

    Examples
    --------
    >>> class Photos:
    ...     samples = [("cat/1.png", 0), ("dog/1.png", 1)]
    >>> file_of_item(Subset(Photos(), [1]), 0)
    'dog/1.png'
    >>> file_of_item([], 0) is None
    True
    """
    while isinstance(dataset, Subset | ItemsAhead):
        index = dataset.indices[index] if isinstance(dataset, Subset) else index
        dataset = dataset.dataset
    listed = getattr(dataset, "samples", None)
    try:
        entry = listed[index] if isinstance(listed, list | tuple) else None
    except IndexError:
        return None
    path = entry[0] if isinstance(entry, list | tuple) and entry else entry
    return os.fspath(path) if isinstance(path, str | os.PathLike) else None
