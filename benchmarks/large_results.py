"""A synthetic results folder of many units and large stores, for the explorer's benchmark.

The tables are those of tests/synthetic_results.py, in the real schemas. The stores are written by
the writer of recordings: every number has random bits of its own, so that the bytes do not compress
away. The data set has as many images as the stores have samples.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import unitlens as ul
from unitlens.config.networks import RunSpec
from unitlens.config.runs import dataset_name
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.store.backend.netcdf import write_netcdf
from unitlens.store.format.manifest import Contents, RecordedLayer
from unitlens.store.writer import StoreWriter
from unitlens.tables.tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from synthetic_results import (
    CLASSES,
    EPOCHS,
    Network,
    provenance_of,
    weights_hash,
    write_networks,
)

RUNS, RECORDED = 20, 5  # networks, and how many of these have a store
SHARES = (0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.18, 0.2)  # of a run's units, by layer
SPLIT = "test"
_BATCH = 1024  # samples that are written at a time
_SIDE = 28  # pixels of an image


@dataclass(frozen=True)
class Size:
    """How large the folder is.

    Attributes
    ----------
    units
        Units of all runs, about.
    gigabytes
        10^9 bytes of all stores before compression, about.
    """

    units: int
    gigabytes: float

    @property
    def widths(self):
        """Units of each layer of a run."""
        return tuple(max(2, round(share * self.units / RUNS)) for share in SHARES)

    @property
    def samples(self):
        """Samples of a store."""
        numbers = self.gigabytes * 1e9 / 4 / RECORDED
        return max(3 * CLASSES, round(numbers / sum(self.widths)))


class Pictures:
    """Images of random blobs, a colour of the blob for each class; made when they are read."""

    def __init__(self, count):
        self.classes = [f"class {label}" for label in range(CLASSES)]
        self._count = count
        self._y, self._x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        if not 0 <= index < self._count:
            raise IndexError(index)
        label = index % CLASSES
        y, x = np.random.default_rng(index).uniform(6, _SIDE - 6, 2)
        blob = np.exp(-((self._y - y) ** 2 + (self._x - x) ** 2) / (8 + 4 * label))
        return (255 * blob[None]).astype(np.uint8), label


def pictures(samples):
    """Return the two splits of the data set of a folder: the workflow calls this function."""
    return {"train": Pictures(CLASSES), SPLIT: Pictures(samples)}


def networks(size):
    """Return the networks of a folder, made up."""
    layers = tuple((f"relu{depth + 1}", depth, width) for depth, width in enumerate(size.widths))
    values = {
        "dataset": {
            "name": f"{Path(__file__).stem}:pictures",
            "arguments": {"samples": size.samples},
        },
        "model": {"name": "mlp", "widths": list(size.widths)},
        "training": {"epochs": EPOCHS},
    }
    specs = [RunSpec.model_validate(values | {"seed": seed}) for seed in range(RUNS)]
    return [Network(spec, ("large",), layers) for spec in specs]


def make_folder(folder, size, *, tell=print):
    """Write the folder, unless it is there already.

    Parameters
    ----------
    folder
        The results folder.
    size
        Its size.
    tell
        Told what was written, and how long it took.
    """
    folder = Path(folder)
    if (folder / "tables.json").exists():
        return folder
    start = time.perf_counter()
    made = networks(size)
    write_networks(folder, made, without=("history",))
    spec = made[0].spec.dataset
    prepared = folder / "datasets" / dataset_name(spec)
    prepare_dataset(spec, prepared, data=folder)
    tell(f"networks and data set: {time.perf_counter() - start:.0f} s")
    identity = load_dataset(prepared, SPLIT).identity
    for network in made[:RECORDED]:
        write_store(folder / network.name / SPLIT, network, size, identity)
        tell(f"store of {network.name}: {time.perf_counter() - start:.0f} s")
    one = made[0].name
    store = ul.open_activations(folder / one / SPLIT / "activations.zarr")
    write_netcdf(
        ul.class_statistics(store),
        folder / one / SPLIT / "class_statistics.nc",
        provenance=provenance_of(one, "class_statistics"),
    )
    del store
    tell(f"class statistics of {one}: {time.perf_counter() - start:.0f} s")
    tabulate(folder, {network.name: network.experiments for network in made})
    tell(f"tables: {time.perf_counter() - start:.0f} s")
    return folder


def write_store(directory, network, size, identity):
    """Write the store of a network: normal numbers in absolute value, with a mean by class.

    Parameters
    ----------
    directory
        Directory of the split.
    network
        The network.
    size
        Size of the folder.
    identity
        Identity of the data set's split.
    """
    directory.mkdir(parents=True)
    layers = tuple(RecordedLayer(name, depth, units) for name, depth, units in network.layers)
    about = {"weights_hash": weights_hash(network.name), "dataset_identity": identity}
    about |= {"split": SPLIT, "network": network.name}
    named = {"class_names": Pictures(0).classes}
    contents = Contents(size.samples, CLASSES, layers, "mean", "float32", about, attributes=named)
    rng = np.random.default_rng(network.spec.seed)
    # One block of numbers is turned by other steps in each batch, which costs less than new ones.
    blocks = [rng.standard_normal((_BATCH, units), np.float32) for _, _, units in network.layers]
    offsets = [rng.normal(0, 0.7, (CLASSES, b.shape[1])).astype(np.float32) for b in blocks]
    with StoreWriter(directory / "activations.zarr", contents, {}) as writer:
        for start in range(0, size.samples, _BATCH):
            index = np.arange(start, min(start + _BATCH, size.samples))
            label = index % CLASSES
            columns = dict.fromkeys(("label", "true_label", "prediction"), label)
            columns |= {"index": index, "loss": np.zeros(index.size)}
            for layer, block, offset in zip(layers, blocks, offsets, strict=True):
                turned = np.roll(block, int(rng.integers(block.size)))[: index.size]
                columns[f"{layer.name}/activation"] = np.abs(turned + offset[label])
            writer.append(start, columns)
        writer.finish()
