"""What a person should know of the image folders of a data set: entries that are left out."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from unitlens.data.image_folders import class_folders, is_image_name, shown_path, walk_folders

_NAMED = 5  # entries of a line


def folder_notes(folders: Mapping[str, Path]) -> Iterator[str]:
    """Yield a line for each thing of image folders that is not as a data set is meant to be.

    Parameters
    ----------
    folders
        Folder of each split.

    Yields
    ------
    The entries of a folder that are left out, being no class folders or images; class folders that
    one split alone has; a single class.
    """
    for split, folder in folders.items():
        entries = sorted(_left_out(folder))
        if entries:
            yield (
                f"left out of the {split} images in {folder}, being no class folders or images: "
                f"{_listed(entries)}"
            )
    names = {split: {entry.name for entry in class_folders(of)} for split, of in folders.items()}
    together = set().union(*names.values())
    for split, own in names.items():
        if own != together:
            yield f"the {split} images have no class folder {_listed(sorted(together - own))}"
    if len(together) == 1:
        yield (
            f"there is one class, '{min(together)}'; if the classes are the folders in it, name "
            "that folder in dataset.folders"
        )


def _left_out(folder: Path) -> Iterator[str]:
    """Yield the entries of a split that are neither class folders nor images, inside of it."""
    classes = class_folders(folder)
    for entry in folder.iterdir():
        if entry not in classes:
            yield shown_path(entry.relative_to(folder))
    for class_folder in classes:
        for place, hidden, names in walk_folders(class_folder):
            unseen = [*hidden, *(name for name in names if not is_image_name(name))]
            for name in unseen:
                yield shown_path((Path(place) / name).relative_to(folder))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
