"""Whether a prepared data set is what would be prepared now, told without preparing it."""

from pathlib import Path

from unitlens.catalogue.datasets import DATASETS, ImageFileSource
from unitlens.config.networks import DatasetSpec
from unitlens.data.dataset_record import DatasetRecord, read_record
from unitlens.data.image_folders import split_folders
from unitlens.data.raw_files import find_raw_change, raw_files
from unitlens.errors import DatasetError


def find_stale_dataset(
    directory: Path, spec: DatasetSpec, data: Path, *, code: str = "", user_code: str = ""
) -> str | None:
    """Return why a data set must be prepared again, in words; None where it need not be.

    The files beside the record are looked for, but not read. A data set that is stored whole does
    without its raw files: they are compared where any of them is there.

    Parameters
    ----------
    directory
        Directory of the prepared data set.
    spec
        The data set. Its label corruption does not count.
    data
        Directory that data sets are read from.
    code
        Digest of the code that would prepare it; not compared where it is empty.
    user_code
        Digest of the user's code that would be called; not compared where it is empty.
    """
    try:
        record = read_record(directory)
        missing = [name for name in record.files if not (directory / name).is_file()]
        if missing:
            return f"{directory / missing[0]} is missing"
        if _values(record.spec) != _values(spec):
            return "its specification has changed"
        if code and record.code != code:
            return "the code of the preparation has changed"
        if user_code and record.user_code != user_code:
            return "the user code of the data set has changed"
        if _is_complete_without(record, spec, data):
            return None
        return _moved_folder(record, data) or find_raw_change(record.raw, spec, data)
    except DatasetError as error:
        return str(error)


def _values(spec: DatasetSpec) -> DatasetSpec:
    """Return a specification without what does not change the data set."""
    return spec.model_copy(update={"corruption": 0.0, "files": ()})


def _is_complete_without(record: DatasetRecord, spec: DatasetSpec, data: Path) -> bool:
    """Tell whether a data set needs none of its raw files: all of them are gone, it is stored."""
    is_stored = record.kind == "memory"
    return is_stored and not any(path.exists() for path in raw_files(spec, data))


def _moved_folder(record: DatasetRecord, data: Path) -> str | None:
    """Return which folder of image files is another than the recorded one, None where none is."""
    declared = DATASETS.get(record.spec.name)
    if declared is None or not isinstance(declared.source, ImageFileSource):
        return None
    for split, folder in split_folders(record.spec, data).items():
        if str(folder.resolve()) != record.splits[split].folder:
            return f"the {split} images now lie in {folder}"
    return None
