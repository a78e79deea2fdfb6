"""Reading one item of a data set; where that fails, the error names the item and its file."""

import os
from typing import Any

from torch.utils.data import Subset

from unitlens.data.items_ahead import ItemsAhead
from unitlens.data.map_style import MapStyle
from unitlens.errors import DatasetError, UnitlensError, one_line
from unitlens.memory_errors import lacks_memory


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


def get_item(dataset: MapStyle, index: int, name: str) -> Any:
    """Return an item of a data set.

    Parameters
    ----------
    dataset
        The data set.
    index
        Index of the item.
    name
        Name of the data set, for the message of an error.

    Raises
    ------
    DatasetError
        Where the data set raises an error of its own: the message names the item.
    """
    try:
        return dataset[index]
    except UnitlensError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        remedy = "mend the item or leave it out"
        if isinstance(error, IndexError):
            remedy += f", or mend the length of the data set, {len(dataset)}"
        file = file_of_item(dataset, index)
        of_file = f" ({file})" if file is not None else ""
        raise DatasetError(
            f"item {index} of {name}{of_file} cannot be read ({type(error).__name__}: "
            f"{one_line(error)}); {remedy}"
        ) from error
