"""Measure codecs on real activations: ratio, and speed of writing and reading through zarr.

    python benchmarks/store_codecs.py --data ROOT

ROOT holds MNIST and CIFAR-10 in torchvision's layout, and Imagenette. Stores are written and read
as unitlens does it: Zarr v3, its chunks and shards, crc32c behind each codec, whole shards one
after the other; two shards at a time are read, and zarr has so many threads as are asked for.
Files lie in the page cache, so that the codec is what is measured and not the disk. The candidates
take turns, and the fastest turn counts. MB are of the numbers before compression; beside them, how
many milliseconds all threads together work for a MB, which other work on the machine disturbs less.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import torch
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

import subjects
from measuring import seconds
from unitlens.model.layers import reduce_positions
from unitlens.model.network import UnitNetwork
from unitlens.store.format.layout import plan_arrays

DTYPES = ("float32", "float16")
SUBJECTS = {
    "MLP": lambda data: subjects.mlp(data, 10_000),
    "convnet": lambda data: subjects.convnet(data, 10_000),
    "EfficientNet-Lite0": lambda data: subjects.efficientnet(data, 100),
}
BATCH = 100
SHUFFLES = {"": "noshuffle", ", byte shuffle": "shuffle", ", bit shuffle": "bitshuffle"}
PIPELINES = {
    "zarr": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarrs": "zarrs.ZarrsCodecPipeline",
}


def candidates():
    """Return the compressors of each codec, as functions of the bytes of a number."""
    found = {"none": lambda _: ()}
    for level in (-5, -1, 1, 3, 6):
        found[f"zstd {level}"] = lambda _, level=level: (ZstdCodec(level=level),)
    for (name, level), (text, shuffle) in product({"lz4": 5, "zstd": 1}.items(), SHUFFLES.items()):
        found[f"blosc {name} {level}{text}"] = (
            lambda size, name=name, level=level, shuffle=shuffle: (
                BloscCodec(cname=name, clevel=level, shuffle=shuffle, typesize=size),
            )
        )
    return found


def activations(subject):
    """Return the activations of each layer of a network, (samples, units) by layer."""
    batches = []
    with UnitNetwork(subject.model, subject.inputs[:2]) as network:
        for inputs in subject.inputs.split(BATCH):
            _, kept = network.capture(
                inputs, network.layers, lambda layer, values: reduce_positions(values, layer)
            )
            batches.append(kept)
        layers = network.layers
    return {layer: torch.cat([kept[layer.name] for kept in batches]).numpy() for layer in layers}


class Trial:
    """One codec on the activations of one network."""

    def __init__(self, place, values, dtype, compressors):
        self.place, self.dtype, self.compressors = place, dtype, compressors
        layers, samples = list(values), len(next(iter(values.values())))
        plans = plan_arrays(layers, samples, dtype)
        self.values = {
            plan: values[layer].astype(dtype) for layer, plan in zip(layers, plans, strict=False)
        }
        self.nbytes = sum(plan.nbytes for plan in self.values)
        self.times = {"write": [], "read": []}

    def write(self):
        store = LocalStore(self.place)
        arrays = {plan: self._create(store, plan) for plan in self.values}
        self._time("write", lambda: [self._fill(array, plan) for plan, array in arrays.items()])

    def _time(self, side, action):
        before = time.process_time()
        taken, result = seconds(action)
        self.times[side].append((taken, time.process_time() - before))
        return result

    def _create(self, store, plan):
        array = zarr.create_array(
            store, name=plan.path, shape=plan.shape, dtype=plan.dtype, chunks=plan.chunks,
            shards=None if plan.shards == plan.chunks else plan.shards, filters=None,
            compressors=(*self.compressors(np.dtype(plan.dtype).itemsize), Crc32cCodec()),
            fill_value=float("nan"), overwrite=True,
        )  # fmt: skip
        return array.with_config({"write_empty_chunks": True})

    def _fill(self, array, plan):
        for shard in range(plan.shard_count):
            array[plan.rows(shard)] = self.values[plan][plan.rows(shard)]

    def read(self, threads):
        store = LocalStore(self.place, read_only=True)
        shards = [
            (zarr.open_array(store, path=plan.path, mode="r"), plan.rows(shard))
            for plan in self.values
            for shard in range(plan.shard_count)
        ]
        with ThreadPoolExecutor(threads) as pool:
            return self._time("read", lambda: list(pool.map(lambda of: of[0][of[1]], shards)))

    def check(self, found):
        expected = np.concatenate([values.ravel() for values in self.values.values()])
        if not np.array_equal(np.concatenate([part.ravel() for part in found]), expected):
            raise SystemExit(f"{self.place}: what was read is not what was written")

    def row(self):
        stored = sum(file.stat().st_size for file in self.place.rglob("*") if file.is_file())
        megabytes = self.nbytes / 1e6
        row = {"ratio": self.nbytes / stored}
        for side, times in self.times.items():
            taken, worked = map(min, zip(*times, strict=True))
            row[side], row[f"{side} work"] = megabytes / taken, 1e3 * worked / megabytes
        return row


def measure(values, threads, turns):
    """Return the rows of all codecs, by dtype and codec."""
    with tempfile.TemporaryDirectory() as room:
        trials = {
            (dtype, name): Trial(
                Path(room) / f"{dtype} {name}".replace(" ", "_"), values, dtype, how
            )
            for dtype in DTYPES
            for name, how in candidates().items()
        }
        for turn in range(turns + 1):
            for trial in trials.values():
                trial.write()
                found = trial.read(threads)
                if turn == 0:  # what is made once is made now
                    trial.check(found)
                    trial.times = {"write": [], "read": []}
        return {key: trial.row() for key, trial in trials.items()}


def table(found):
    """Return the rows in Markdown: ratio, write and read of each network."""
    names = list(found)
    of_each = "ratio; MB/s written, read; ms/MB to write, read"
    head = ["numbers", "codec", *(f"{name}: {of_each}" for name in names)]
    lines = [head, ["---"] * len(head)]
    for dtype, codec in next(iter(found.values())):
        cells = [found[name][dtype, codec] for name in names]
        lines.append([dtype, codec, *map(_cell, cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(of):
    speeds = f"{of['write']:.0f}, {of['read']:.0f}"
    return f"{of['ratio']:.2f}; {speeds}; {of['write work']:.1f}, {of['read work']:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="root of the data sets, torchvision's layout")
    parser.add_argument("--pipeline", choices=PIPELINES, default="zarr")
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="a network")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    zarr.config.set(
        {
            "threading.max_workers": arguments.threads,
            "codec_pipeline.path": PIPELINES[arguments.pipeline],
        }
    )
    found = {}
    for name in arguments.only or SUBJECTS:
        values = activations(SUBJECTS[name](arguments.data))
        numbers = sum(of.size for of in values.values())
        zero = sum(np.count_nonzero(of == 0) for of in values.values()) / numbers
        print(f"{name}: {numbers / 1e6:.1f} million activations, {zero:.0%} zero", flush=True)
        found[name] = measure(values, arguments.threads, arguments.turns)
    print(f"zarr {zarr.__version__}, pipeline {arguments.pipeline}\n\n{table(found)}")


if __name__ == "__main__":
    main()
