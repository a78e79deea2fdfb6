"""Selections read without Zarr equal those of Zarr, and read only the chunks that they need."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from small_stores import LAYERS, make_columns, make_contents, write_store
from unitlens.store.format.decoding import DamageError, ShardFiles
from unitlens.store.format.encoding import CODECS
from unitlens.store.format.layout import Layout
from unitlens.store.format.manifest import read_manifest
from unitlens.store.reader import open_activations

WIDE = Layout(chunk_bytes=2**10, shard_bytes=2**14)  # several chunks across and down a shard


def stored(path, codec="lz4", dtype="float32"):
    contents = make_contents(layers={"relu1": 300, "relu2": 5}, codec=codec, dtype=dtype)
    columns = make_columns(contents)
    write_store(path, contents, columns, layout=WIDE)
    (array,) = (f.array for f in read_manifest(path).files if f.array.path == "relu1/activation")
    return ShardFiles(path, array, codec), array, columns["relu1/activation"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("codec", CODECS)
def test_read__equals_zarr(codec, dtype, tmp_path):
    files, array, values = stored(tmp_path / "a.zarr", codec, dtype)
    assert array.chunks[1] < 300
    by_zarr = zarr.open_array(tmp_path / "a.zarr" / array.path, mode="r")
    rng = np.random.default_rng(0)
    spans = [(range(500), range(300)), (range(499, 500), range(299, 300))]
    for _ in range(20):
        ends = (np.sort(rng.choice(size + 1, 2, replace=False)).tolist() for size in (500, 300))
        spans.append(tuple(range(*pair) for pair in ends))

    for rows, units in spans:
        block = files.read((rows, units))
        selection = slice(rows.start, rows.stop), slice(units.start, units.stop)
        np.testing.assert_array_equal(block, by_zarr[selection])
        np.testing.assert_array_equal(block, values[selection])
        assert block.dtype == values.dtype


def test_read__of_every_layer_of_a_store(tmp_path):
    contents = make_contents()
    columns = make_columns(contents)
    write_store(tmp_path / "a.zarr", contents, columns)
    tree = open_activations(tmp_path / "a.zarr")
    for name in LAYERS:
        activation, expected = tree[name]["activation"], columns[f"{name}/activation"]
        np.testing.assert_array_equal(activation, expected)
        np.testing.assert_array_equal(activation[::-3, 1], expected[::-3, 1])
        np.testing.assert_array_equal(activation[:0], expected[:0])
        np.testing.assert_array_equal(activation[[4, 2, 400]], expected[[4, 2, 400]])


def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])


def test_read__of_one_unit_takes_its_chunks_alone(tmp_path):
    contents = make_contents(samples=20_000, layers={"relu1": 640})
    write_store(tmp_path / "a.zarr", contents, layout=Layout(2**16, 2**24), batch=20_000)
    activation = open_activations(tmp_path / "a.zarr")["relu1"]["activation"]
    before = bytes_read()
    column = activation.isel(unit=130).to_numpy()
    between = bytes_read()
    layer = activation.to_numpy()
    np.testing.assert_array_equal(column, layer[:, 130])
    assert between - before < 0.25 * (bytes_read() - between)


@pytest.mark.parametrize(
    ("place", "message"),
    [(10, "checksum of a chunk is wrong"), (-10, "checksum of its index is wrong")],
)
def test_read__finds_a_flipped_bit(place, message, tmp_path):
    files, array, _ = stored(tmp_path / "a.zarr")
    shard = tmp_path / "a.zarr" / array.key(0)
    raw = bytearray(shard.read_bytes())
    raw[place] ^= 4
    shard.write_bytes(raw)

    with pytest.raises(DamageError, match=message):
        files.read((range(500), range(300)))


def test_read__finds_a_shard_that_was_cut(tmp_path):
    files, array, _ = stored(tmp_path / "a.zarr")
    shard = tmp_path / "a.zarr" / array.key(0)
    whole = shard.read_bytes()
    for length in (0, 30, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(DamageError):
            files.read((range(500), range(300)))
