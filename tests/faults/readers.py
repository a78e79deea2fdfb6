"""Everything that a results folder holds, read as users read it."""

import hashlib
import json
import traceback
import warnings
from functools import cached_property
from pathlib import Path

from unitlens.data.prepare import load_dataset
from unitlens.errors import UnitlensError
from unitlens.model.weights import weights_hash
from unitlens.store.backend.netcdf import read_components, read_netcdf
from unitlens.store.reader import open_activations
from unitlens.tables.results import open_results
from unitlens.training.checkpoints import load_checkpoint

CHECKPOINT, COMPONENTS = "checkpoint", "principal_components"
STORES = ("train/activations", "test/activations")
FILES = (
    "train/class_statistics",
    "test/class_statistics",
    "l1_norm",
    "unit_measures",
    "unit_ablation",
    "cumulative_ablation",
    "noise_robustness",
    "history",
)
TABLES = ("runs", "units", "curves", "noise", "history", "correlations")
# Files for a person: nothing but the step that wrote them looks at them again.
PAGES = ("paper.csv", "paper.md", "beyond.md", "report.html")


def read_folder(folder, names):
    """Read things of a results folder.

    Parameters
    ----------
    folder
        The results folder.
    names
        Names of what is read, such as ``datasets/digits/train``, ``NETWORK/checkpoint``,
        ``NETWORK/train/activations``, ``NETWORK/unit_ablation``, ``tables/units``, ``paper.md``.

    Returns
    -------
    Each name to its kind and its text: ``value`` with a hash of the values, ``refused`` with the
    line of an error of unitlens, ``missing``, or ``crash`` with the end of a
    traceback.
    """
    warnings.simplefilter("ignore")
    reader = FolderReader(Path(folder))
    return {name: reader.attempt(name) for name in names}


class MissingError(Exception):
    """There is no such file, and nobody is told that there is."""


class FolderReader:
    """Reads one results folder.

    Parameters
    ----------
    folder
        The results folder.
    """

    def __init__(self, folder):
        self._folder = folder

    def attempt(self, name):
        """Return the kind and the text of what is read under a name."""
        try:
            return ["value", self._read(name)]
        except UnitlensError as error:
            return ["refused", str(error)]
        except MissingError:
            return ["missing", ""]
        except Exception:  # noqa: BLE001 - whatever it is, a test looks at it
            return ["crash", " | ".join(traceback.format_exc().splitlines()[-3:])]

    def _read(self, name):
        first, _, rest = name.partition("/")
        path = self._folder / name
        if first == "datasets":
            return _dataset(path.parent, path.name)
        if first == "tables":
            return self._table(rest)
        if name in PAGES or first == "figures":
            return _hash(_existing(path).read_bytes())
        if path.name == CHECKPOINT:
            return _checkpoint(path.parent)
        if path.name == "activations":
            return _store(path.with_suffix(".zarr"))
        return _file(_existing(path.with_suffix(".nc")))

    def _table(self, name):
        results = self._results
        if isinstance(results, UnitlensError):
            raise results
        kept, _, kept_name = name.partition("/")
        owner, name = (results.checkpoints, kept_name) if kept == "checkpoints" else (results, name)
        return _hash_table(getattr(owner, name))

    @cached_property
    def _results(self):
        # Opened once: where the tables are half replaced, each attempt waits for their writer.
        try:
            return open_results(self._folder)
        except UnitlensError as error:
            return error


def _existing(path):
    if not path.exists():
        raise MissingError
    return path


def _file(path):
    if path.stem == COMPONENTS:
        return _hash(*(_hash_table(table) for table in read_components(path).values()))
    return _hash_table(read_netcdf(path))


def _dataset(directory, split):
    data = load_dataset(directory, split)
    inputs, labels = data.batch(range(len(data)))
    return _hash(inputs.numpy().tobytes(), labels.numpy().tobytes(), repr(data.classes))


def _checkpoint(directory):
    model, record = load_checkpoint(directory)
    scores = (record.epoch, record.train_loss, record.train_accuracy)
    tests = (record.test_loss, record.test_accuracy, record.weights_hash)
    return _hash(weights_hash(model), repr((scores, tests, record.spec)))


def _store(path):
    tree = open_activations(path)
    nodes = {name: tree[name].to_dataset() for name in tree.groups}
    return _hash(*(f"{name}{_hash_table(node)}" for name, node in sorted(nodes.items())))


def _hash_table(table):
    """Return a hash of the values of a table, its names and dimensions."""
    pieces = []
    for name in sorted(map(str, table.variables)):
        variable = table.variables[name]
        values = variable.values
        text = values.astype(str).tolist() if values.dtype.kind in "OUT" else None
        content = json.dumps(text) if text is not None else values.tobytes()
        pieces += [repr((name, variable.dims, variable.shape)), content]
    return _hash(*pieces)


def _hash(*pieces):
    total = hashlib.sha256()
    for piece in pieces:
        total.update(piece if isinstance(piece, bytes) else str(piece).encode())
        total.update(b"\0")
    return total.hexdigest()[:16]
