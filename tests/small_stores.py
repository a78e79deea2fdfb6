"""Small stores with known numbers, and a process that writes one and waits to be killed."""

import hashlib
import json
import sys
import time
from dataclasses import asdict

import numpy as np

from unitlens.store.backend.lock import only_writer
from unitlens.store.backend.places import locate
from unitlens.store.format.journal import read_journal
from unitlens.store.format.layout import Layout
from unitlens.store.format.manifest import Contents, RecordedLayer
from unitlens.store.format.parts import Part
from unitlens.store.writer import StoreWriter, is_recorded

# Shards of a few kilobytes, so that a small store has many.
SMALL = Layout(chunk_bytes=2**10, shard_bytes=2**12)
LAYERS = {"relu1": 24, "layer1.0.relu_2": 7}


def make_contents(samples=500, layers=None, **changes):
    layers = LAYERS if layers is None else layers
    recorded = tuple(
        RecordedLayer(n, depth, units) for depth, (n, units) in enumerate(layers.items())
    )
    about = {"reduce": "mean", "dtype": "float32", "classes": 10}
    about["provenance"] = {"weights_hash": "a0", "dataset_identity": "b1"}
    return Contents(samples=samples, layers=recorded, **{**about, **changes})


def make_columns(contents, seed=0):
    """Return the columns of a store: ReLU-like activations, and labels that are corrupted."""
    rng = np.random.default_rng(seed)
    n = contents.samples
    columns = {
        f"{layer.name}/activation": np.maximum(rng.normal(size=(n, layer.units)), 0).astype(
            contents.dtype
        )
        for layer in contents.layers
    }
    if contents.maps is not None:
        columns["map_sample"] = np.array(contents.maps.samples)
        units = {layer.name: layer.units for layer in contents.layers}
        for name, positions in contents.maps.positions.items():
            shape = (len(contents.maps.samples), units[name], *positions)
            columns[f"{name}/map"] = rng.normal(size=shape).astype(contents.dtype)
    labels = rng.integers(0, contents.classes, (3, n))
    columns |= dict(zip(("label", "true_label", "prediction"), labels, strict=True))
    return {**columns, "index": np.arange(n), "loss": rng.random(n)}


def rows_of(columns, start, stop):
    """Return the rows of each column for the samples from `start` to `stop`."""
    mapped = columns.get("map_sample", np.array([], np.int64))
    some = slice(*np.searchsorted(mapped, (start, stop)))
    return {
        name: values[some if "map" in name else slice(start, stop)]
        for name, values in columns.items()
    }


def append(writer, columns, batch=50, pause=0.0):
    """Append the samples that a writer lacks, batch by batch."""
    samples, missing = writer.contents.samples, writer.missing
    for start in range(0, samples, batch):
        stop = min(start + batch, samples)
        if missing[start:stop].any():
            writer.append(start, rows_of(columns, start, stop))
            time.sleep(pause)


def fill(writer, columns, **options):
    """Append the samples that a writer lacks, and finish the store."""
    append(writer, columns, **options)
    return writer.finish()


def write_part(path, part, contents=None, **options):
    """Write a part of a store, as a recording does."""
    contents = make_contents() if contents is None else contents
    with (
        only_writer(path, part) as admit_parts,
        StoreWriter(
            path, contents, {"batch_size": 50}, layout=SMALL, part=part, admit_parts=admit_parts
        ) as writer,
    ):
        append(writer, make_columns(contents), **options)
        writer.complete()


def write_store(path, contents=None, columns=None, layout=SMALL, conditions=None, **options):
    contents = make_contents() if contents is None else contents
    columns = make_columns(contents) if columns is None else columns
    with StoreWriter(path, contents, conditions or {"batch_size": 50}, layout=layout) as writer:
        return fill(writer, columns, **options)


def record_store(path, contents, **options):
    """Write a store unless it is finished, as a recording does."""
    with only_writer(path):
        if not is_recorded(path, contents):
            write_store(path, contents, **options)


def make_former(path):
    """Make a store one of unitlens before 0.3, whose manifest and journals had no checksums."""
    place = path.with_suffix(".json")
    if place.exists():
        values = json.loads(place.read_bytes())
        values.pop("manifest_hash")
        values["schema_version"] = 3
        for array in values["arrays"]:
            array.pop("checksums")
        text = json.dumps(values, sort_keys=True).encode()
        values["manifest_hash"] = hashlib.sha256(text).hexdigest()
        place.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
    for journal in path.parent.glob(f"{path.stem}*.journal"):
        header, shards = read_journal(journal)
        former = [{k: v for k, v in asdict(s).items() if k != "checksums"} for s in shards]
        texts = [json.dumps(values, sort_keys=True).encode() for values in (header, *former)]
        checks = [hashlib.sha256(text).hexdigest()[:16].encode() for text in texts]
        journal.write_bytes(b"".join(b"%s %s\n" % pair for pair in zip(checks, texts, strict=True)))


def swap(one, other):
    """Exchange the contents of two files."""
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def all_files(path):
    """Return the name and the bytes of every file of a store and of its manifest."""
    files = [file for file in path.rglob("*") if file.is_file()]
    named = {str(file.relative_to(path)): file.read_bytes() for file in files}
    return {**named, "manifest": path.with_suffix(".json").read_bytes()}


def flip(file, position, bit):
    """Flip one bit of a file."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    place, numbers = locate(sys.argv[1]), [int(number) for number in sys.argv[2:]]
    if len(numbers) == 2:
        write_part(place, Part(*numbers), batch=10, pause=0.02)
    else:
        record_store(place, make_contents(*numbers), batch=10, pause=0.002)
    sys.stdout.write("finished\n")
