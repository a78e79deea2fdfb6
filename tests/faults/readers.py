"""Everything that a results folder holds, read as users read it."""

import hashlib
import json
import traceback
import warnings
from pathlib import Path

from unitlens.errors import UnitlensError

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
PAGES = ("paper.csv", "paper.md", "report.html")


def read_folder(folder, names):
    """Read things of a results folder.

    Parameters
    ----------
    folder
        The results folder.
    names
        Names of what is read, as :func:`names_of` lists them.

    Returns
    -------
    Each name to its kind and its text: ``value`` with a hash of the values, ``refused`` with the
    line of an error of unitlens, ``missing``, or ``crash`` with the end of a
    traceback.
    """
    warnings.simplefilter("ignore")
    return {name: _attempt(Path(folder), name) for name in names}


def names_of(datasets, networks, figures=()):
    """Name everything that the results folder of a workflow may hold.

    Parameters
    ----------
    datasets
        Names of the data sets.
    networks
        Names of the networks.
    figures
        Names of the figures.
    """
    found = [f"datasets/{name}/{split}" for name in datasets for split in ("train", "test")]
    for network in networks:
        found += [f"{network}/{kind}" for kind in (CHECKPOINT, *STORES, *FILES, COMPONENTS)]
    found += [f"tables/{name}" for name in TABLES]
    found += [f"tables/checkpoints/{name}" for name in TABLES[:-1]]
    return [*found, *PAGES, *(f"figures/{name}.svg" for name in figures)]


def _attempt(folder, name):
    try:
        return ["value", _read(folder, name)]
    except UnitlensError as error:
        return ["refused", str(error)]
    except MissingError:
        return ["missing", ""]
    except Exception:  # noqa: BLE001 - whatever it is, a test looks at it
        return ["crash", " | ".join(traceback.format_exc().splitlines()[-3:])]


class MissingError(Exception):
    """There is no such file, and nobody is told that there is."""


def _read(folder, name):
    first, _, rest = name.partition("/")
    if first == "datasets":
        return _dataset((folder / name).parent, (folder / name).name)
    if first == "tables":
        return _table(folder, rest)
    path = folder / name
    if name in PAGES or first == "figures":
        return _hash(_existing(path).read_bytes())
    if path.name == CHECKPOINT:
        return _checkpoint(path.parent)
    if path.name == "activations":
        return _store(path.with_suffix(".zarr"))
    return _file(_existing(path.with_suffix(".nc")))


def _existing(path):
    if not path.exists():
        raise MissingError
    return path


def _file(path):
    from unitlens.store.backend.netcdf import read_components, read_netcdf

    if path.stem == COMPONENTS:
        return _hash(*(_hash_table(table) for table in read_components(path).values()))
    return _hash_table(read_netcdf(path))


def _table(folder, name):
    from unitlens.tables.results import open_results

    results = open_results(folder)
    kept, _, kept_name = name.partition("/")
    if kept == "checkpoints":
        return _hash_table(getattr(results.checkpoints, kept_name))
    return _hash_table(getattr(results, name))


def _dataset(directory, split):
    from unitlens.data.prepare import load_dataset

    data = load_dataset(directory, split)
    inputs, labels = data.batch(range(len(data)))
    return _hash(inputs.numpy().tobytes(), labels.numpy().tobytes(), repr(data.classes))


def _checkpoint(directory):
    from unitlens.model.weights import weights_hash
    from unitlens.training.checkpoints import load_checkpoint

    model, record = load_checkpoint(directory)
    scores = (record.epoch, record.train_loss, record.train_accuracy)
    tests = (record.test_loss, record.test_accuracy, record.weights_hash)
    return _hash(weights_hash(model), repr((scores, tests, record.spec)))


def _store(path):
    from unitlens.store.reader import open_activations

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
