"""Properties of every store, whatever its size, layout and batches."""

import tempfile
from itertools import pairwise
from pathlib import Path

import dask
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from properties.strategies_store import contents, cuts, layouts
from small_stores import all_files, make_columns, rows_of
from unitlens.store.format.layout import plan_arrays
from unitlens.store.format.parts import Part
from unitlens.store.merge import merge_activations
from unitlens.store.reader import open_activations
from unitlens.store.verify import verify_activations
from unitlens.store.writer import StoreWriter

CONDITIONS = {"batch_size": 1}


def append(writer, columns, batches):
    for start, stop in batches:
        if stop > writer.first:
            writer.append(start, rows_of(columns, start, stop))


def append_missing(writer, columns, batches):
    missing = writer.missing
    for start, stop in batches:
        if missing[start:stop].any():
            writer.append(start, rows_of(columns, start, stop))


@given(contents(), layouts, st.data())
@settings(max_examples=25)
def test_store__holds_what_was_written_whatever_the_batches(held, layout, data):
    columns, batches = make_columns(held), list(pairwise(data.draw(cuts(held.samples))))
    with tempfile.TemporaryDirectory() as room, dask.config.set(scheduler="synchronous"):
        path = Path(room) / "acts.zarr"
        with StoreWriter(path, held, CONDITIONS, layout=layout) as writer:
            append(writer, columns, batches)
            writer.finish()
        tree = open_activations(path)
        for layer in held.layers:
            expected = columns[f"{layer.name}/activation"]
            node = tree[layer.name]
            np.testing.assert_array_equal(node.activation, expected)
            np.testing.assert_array_equal(node.minimum, expected.min(axis=0))
            np.testing.assert_array_equal(node.maximum, expected.max(axis=0))
        for name in held.maps.positions if held.maps else ():
            np.testing.assert_array_equal(tree[name]["map"], columns[f"{name}/map"])
            np.testing.assert_array_equal(tree[name].map_sample, held.maps.samples)
        np.testing.assert_array_equal(tree["prediction"], columns["prediction"])


@given(contents(), layouts, st.data())
@settings(max_examples=25)
def test_store__broken_off_and_resumed_equals_undisturbed(held, layout, data):
    columns, batches = make_columns(held), list(pairwise(data.draw(cuts(held.samples))))
    broken_off = data.draw(st.integers(0, len(batches)))
    manifests = []
    with tempfile.TemporaryDirectory() as room:
        for name, passes in (("a.zarr", [len(batches)]), ("b.zarr", [broken_off, len(batches)])):
            for number in passes:
                path = Path(room) / name
                with StoreWriter(path, held, CONDITIONS, layout=layout) as writer:
                    append(writer, columns, batches[:number])
                    if number == passes[-1]:
                        writer.finish()
            manifests.append(path.with_suffix(".json").read_bytes())
    assert manifests[0] == manifests[1]


@given(contents(), layouts, st.data())
@settings(max_examples=10)
def test_store__any_holes_filled_and_any_parts_merged_equal_undisturbed(held, layout, data):
    columns, batches = make_columns(held), list(pairwise(data.draw(cuts(held.samples))))
    of = data.draw(st.integers(1, 5))
    with tempfile.TemporaryDirectory() as room:
        one, merged = Path(room) / "one.zarr", Path(room) / "merged.zarr"
        with StoreWriter(one, held, CONDITIONS, layout=layout) as writer:
            append(writer, columns, batches)
            writer.finish()
        undisturbed = all_files(one)

        shards = sorted(file for file in one.rglob("*") if "c" in file.relative_to(one).parts)
        shards = [file for file in shards if file.is_file()]
        for file in data.draw(st.sets(st.sampled_from(shards))):
            file.unlink()
        with StoreWriter(one, held, CONDITIONS, layout=layout) as writer:
            append_missing(writer, columns, batches)
            writer.finish()
        assert all_files(one) == undisturbed

        for number in data.draw(st.permutations(range(1, of + 1))):
            part = Part(number, of)
            with StoreWriter(merged, held, CONDITIONS, layout=layout, part=part) as writer:
                append_missing(writer, columns, batches)
                writer.complete()
        merge_activations(merged)
        assert all_files(merged) == undisturbed
        assert verify_activations(merged).faults == verify_activations(one).faults


@given(contents(), layouts)
def test_plan__shards_are_whole_chunks_and_cover_every_row_once(held, layout):
    for array in plan_arrays(held.layers, held.samples, held.dtype, layout, maps=held.maps):
        assert all(s % c == 0 for s, c in zip(array.shards, array.chunks, strict=True))
        rows = [array.rows(shard) for shard in range(array.shard_count)]
        assert [row for span in rows for row in range(span.start, span.stop)] == list(
            range(array.shape[0])
        )
        assert len(held.samples_of(array)) == array.shape[0]
        if array.dims == ("sample", "unit"):
            assert array.shards[1] >= array.shape[1] > array.shards[1] - array.chunks[1]
