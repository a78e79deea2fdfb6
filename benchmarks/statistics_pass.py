"""Time the statistics of a store against peers that read the same one.

    python benchmarks/statistics_pass.py --scratch DIR [--only pass --only means ...] [--size .1]

DIR takes stores of random ReLU-like activations, up to 17 GB, which are removed again. Both sides
work on the same store, warm in the page cache where it fits, on the same threads, in turn; medians
count. Numbers must agree, or the exit status is 1.

pass       all class statistics, against reading and decoding the store with Dask and Zarr
           (dask.array.from_zarr) and doing nothing
means      class means, against flox through xarray on the chunks that suit it best
means-1000 the same for 1,000 classes
information  class statistics and mutual information of 512 units, against scikit-learn's estimator
           by two jobs
information-1-job  the same against scikit-learn as it is called without a number of jobs
memory     peak memory of the statistics of a large store, and of one twice as large
column     bytes read for one unit's activations, against the layer's
growth     seconds by samples, units and classes

`--size` makes the stores smaller, for a quick look: the ratios are others then.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

import unitlens as ul
from measuring import alternate, seconds
from unitlens.plot.style import (
    COLOURS,
    DASHES,
    MARKERS,
    draw_legend,
    new_figure,
    styled,
)
from unitlens.store.format.manifest import Contents, RecordedLayer
from unitlens.store.writer import StoreWriter

BATCH = 4096
SEEN = Path("/proc/self/io")


@dataclass(frozen=True)
class Shape:
    """What a store of random activations holds."""

    samples: int
    widths: tuple[int, ...]
    classes: int = 10

    def reduced(self, share):
        return Shape(max(self.classes, round(self.samples * share)), self.widths, self.classes)


WIDTHS = (512, 512, 768, 512, 512)  # 2,816 units
SHAPES = {
    "pass": Shape(60_000, WIDTHS),
    "means": Shape(60_000, WIDTHS),
    "means-1000": Shape(65_536, (4096,), 1000),
    "information": Shape(10_000, (512,)),
    "information-1-job": Shape(10_000, (512,)),
    "memory": Shape(100_000, (5120,) * 4),
    "column": Shape(100_000, (5120,) * 4),
}
ASKED = {
    "pass": 0.75, "means": 1.5, "means-1000": 2, "information": 200,
    "information-1-job": 200,
}  # fmt: skip


def activations(shape, rng, labels):
    """Return a batch: rectified normal numbers, about half of them zero, with a mean by class."""
    for depth, units in enumerate(shape.widths):
        offsets = np.random.default_rng(depth).normal(0, 0.5, (shape.classes, units))
        values = rng.standard_normal((len(labels), units), np.float32)
        values += offsets.astype(np.float32)[labels]
        yield np.maximum(values, 0, out=values)


def write(path, shape):
    """Write a store of random activations."""
    layers = tuple(RecordedLayer(f"relu{i}", i, units) for i, units in enumerate(shape.widths))
    about = {"weights_hash": "random", "dataset_identity": "random"}
    contents = Contents(shape.samples, shape.classes, layers, "mean", "float32", about)
    rng = np.random.default_rng(0)
    with StoreWriter(path, contents, {}) as writer:
        for start in range(0, shape.samples, BATCH):
            index = np.arange(start, min(start + BATCH, shape.samples))
            labels = index % shape.classes
            names = (f"{layer.name}/activation" for layer in layers)
            columns = dict(zip(names, activations(shape, rng, labels), strict=True))
            same = dict.fromkeys(("label", "true_label", "prediction"), labels)
            writer.append(start, columns | same | {"index": index, "loss": np.zeros(len(index))})
        writer.finish()
    return path


def nothing(_block):
    return np.zeros((1, 1))


def read_all(path):
    """Read and decode every shard with Dask and Zarr, and do nothing with them."""
    names = [node.name for node in nodes(ul.open_activations(path))]
    arrays = [da.from_zarr(str(path / name / "activation")) for name in names]
    dask.compute(*[array.map_blocks(nothing, chunks=(1, 1)) for array in arrays])


def nodes(tree):
    return [node for node in tree.children.values() if "activation" in node.data_vars]


def run_pass(path, shape, repeats):
    ours = lambda: ul.class_statistics(ul.open_activations(path))  # noqa: E731
    ours_times, peer_times = alternate(ours, lambda: read_all(path), repeats, memory=False)
    stats = ours_times.result
    equal = bool((stats["histogram"].sum(("class", "bin")) == shape.samples).all())
    return ours_times, peer_times, "reading with Dask and Zarr", equal


def flox_means(path, split):
    """Return flox's class means, with blocks of so many samples (None: those of the store)."""
    from flox.xarray import xarray_reduce

    tree = ul.open_activations(path)
    label = xr.DataArray(tree["label"].to_numpy(), dims="sample", name="label")
    found = []
    for node in nodes(tree):
        values = xr.DataArray(node["activation"].data, dims=("sample", "unit"))
        values = values if split is None else values.chunk(sample=split)
        found.append(xarray_reduce(values, label, func="mean", dim="sample", method="map-reduce"))
    return [array.T.to_numpy() for array in dask.compute(*found)]


def run_means(path, shape, repeats):
    candidates = (None, shape.samples // 8, shape.samples // 32)
    tried = {split: seconds(lambda s=split: flox_means(path, s))[0] for split in candidates}
    best = min(tried, key=tried.get)
    ours = lambda: ul.class_means(ul.open_activations(path))  # noqa: E731
    peer = lambda: flox_means(path, best)  # noqa: E731
    ours_times, peer_times = alternate(ours, peer, repeats, memory=False)
    means = np.concatenate(peer_times.result)
    equal = np.allclose(ours_times.result["class_mean"], means, rtol=1e-4, atol=1e-5)
    chunks = "the store's chunks" if best is None else f"chunks of {best} samples"
    return ours_times, peer_times, f"flox, {chunks}", equal


def run_information(path, _shape, repeats, jobs=2):
    from sklearn.feature_selection import mutual_info_classif

    tree = ul.open_activations(path)
    labels, values = tree["label"].to_numpy(), nodes(tree)[0]["activation"].to_numpy()
    ours = lambda: ul.mutual_information(ul.class_statistics(ul.open_activations(path)))  # noqa: E731
    peer = lambda: mutual_info_classif(values, labels, random_state=0, n_jobs=jobs)  # noqa: E731
    ours_times, peer_times = alternate(ours, peer, repeats, memory=False)
    apart = np.abs(ours_times.result["mutual_information"].to_numpy() - peer_times.result)
    name = f"scikit-learn, n_jobs={jobs}"
    return ours_times, peer_times, name, bool(np.median(apart) < 0.02)


RUNS = {
    "pass": run_pass, "means": run_means, "means-1000": run_means, "information": run_information,
    "information-1-job": partial(run_information, jobs=None),
}  # fmt: skip


def compare(name, scratch, size, repeats):
    """Run one comparison and return its row."""
    shape = SHAPES[name].reduced(size)
    path = write(scratch / f"{name}.zarr", shape)
    ours, peer, against, equal = RUNS[name](path, shape, repeats)
    gigabytes = shape.samples * sum(shape.widths) * 4 / 1e9
    row = {
        "case": name, "against": against, "asked": ASKED[name],
        "reached": peer.median / ours.median, "unitlens_seconds": ours.median,
        "peer_seconds": peer.median, "gigabytes": gigabytes, "equal": bool(equal),
    }  # fmt: skip
    print(
        f"{name}: unitlens {ours.median:.2f} s ({gigabytes / ours.median:.2f} GB/s), {against} "
        f"{peer.median:.2f} s: {row['reached']:.2f}x, asked {ASKED[name]:g}x; numbers "
        f"{'agree' if equal else 'DIFFER'}",
        flush=True,
    )
    remove(path)
    return row


def remove(path):
    shutil.rmtree(path)
    for other in path.parent.glob(f"{path.stem}.*"):
        other.unlink()


_PEAK = """
import re, sys, dask
import unitlens as ul
with dask.config.set(scheduler="threads", num_workers=2):
    ul.class_statistics(ul.open_activations(sys.argv[1]))
# Not ru_maxrss, which a process has from the one that started it.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1e3)
"""


def run_memory(scratch, size):
    """Return the peak memory of the statistics of a store, and of one of twice the samples."""
    peaks, shape = [], SHAPES["memory"].reduced(size)
    for factor in (1, 2):
        path = write(scratch / "memory.zarr", shape.reduced(factor))
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, str(path)], capture_output=True, text=True, check=True
        )
        peaks.append(float(done.stdout))
        took = time.perf_counter() - start
        gigabytes = factor * shape.samples * sum(shape.widths) * 4 / 1e9
        print(f"memory: {gigabytes:.1f} GB in {took:.0f} s, peak {peaks[-1]:.0f} MB", flush=True)
        remove(path)
    return {"case": "memory", "peak_mb": peaks}


def run_column(scratch, size):
    """Return the share of a layer's bytes that reading one unit takes."""
    path = write(scratch / "column.zarr", SHAPES["column"].reduced(size))
    activation = nodes(ul.open_activations(path))[1]["activation"]
    before = bytes_read()
    activation.isel(unit=7).compute()
    between = bytes_read()
    activation.data.map_blocks(nothing, chunks=(1, 1)).compute()
    column, layer = between - before, bytes_read() - between
    print(f"column: {column / 1e6:.1f} of {layer / 1e6:.0f} MB read: {column / layer:.1%}")
    remove(path)
    return {"case": "column", "bytes": column, "layer_bytes": layer}


def bytes_read():
    """Return how many bytes this process has read, from the page cache too."""
    return int(SEEN.read_text().split()[1])


GROWTH = {
    "samples": [Shape(n, (1024,)) for n in (10_000, 20_000, 40_000, 80_000)],
    "units": [Shape(20_000, (n,)) for n in (512, 1024, 2048, 4096)],
    "classes": [Shape(40_000, (1024,), n) for n in (2, 10, 100, 1000)],
}


def run_growth(scratch, size):
    """Return seconds of the statistics by samples, units and classes."""
    found = {}
    for name, shapes in GROWTH.items():
        found[name] = []
        for shape in (one.reduced(size) for one in shapes):
            path = write(scratch / "growth.zarr", shape)
            taken = min(
                seconds(lambda p=path: ul.class_statistics(ul.open_activations(p)))[0]
                for _ in range(3)
            )
            remove(path)
            at = {"samples": shape.samples, "units": shape.widths[0], "classes": shape.classes}
            found[name].append((at[name], taken))
            print(f"growth: {at}: {taken:.3f} s", flush=True)
    return {"case": "growth", "seconds": found}


@styled
def draw_growth(row):
    """Return the figure of seconds by samples, units and classes, with a line of equal growth."""
    figure = new_figure(height=2.6)
    for axes, (name, points) in zip(
        figure.subplots(1, len(row["seconds"]), sharey=True), row["seconds"].items(), strict=True
    ):
        sizes, taken = map(np.array, zip(*points, strict=True))
        axes.plot(sizes, taken, color=COLOURS[0], marker=MARKERS[0], label="measured")
        if name != "classes":
            line = taken[-1] * sizes / sizes[-1]
            axes.plot(sizes, line, color=COLOURS[1], linestyle=DASHES[1], label="in proportion")
        axes.set_xscale("log", base=2 if name != "classes" else 10)
        axes.set_yscale("log", base=2)
        axes.set_xlabel(name)
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g}"))
    figure.axes[0].set_ylabel("class statistics / s")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    draw_legend(figure, dict(zip(labels, handles, strict=True)))
    return figure


ALONE = {"memory": run_memory, "column": run_column, "growth": run_growth}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", required=True, type=Path, help="directory for the stores")
    parser.add_argument("--only", action="append", choices=[*RUNS, *ALONE])
    parser.add_argument("--size", type=float, default=1.0, help="share of the samples")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--figure", type=Path, help="file to draw the growth in")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    asked = parser.parse_args()
    asked.scratch.mkdir(parents=True, exist_ok=True)
    rows = []
    with dask.config.set(scheduler="threads", num_workers=asked.threads):
        for name in asked.only or [*RUNS, *ALONE]:
            if name in RUNS:
                rows.append(compare(name, asked.scratch, asked.size, asked.repeats))
            else:
                rows.append(ALONE[name](asked.scratch, asked.size))
    for row in rows if asked.figure else ():
        if row["case"] == "growth":
            draw_growth(row).savefig(asked.figure, metadata={"Date": None})
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2) + "\n")
    if not all(row.get("equal", True) for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
