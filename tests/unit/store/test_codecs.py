"""The codecs are a closed list; they change bytes on disk and no number."""

import json
from typing import get_args

import numpy as np
import pytest
import zarr

import unitlens as ul
from recorded_networks import Samples, mlp, record_small
from small_stores import make_columns, make_contents, write_store
from unitlens.config.measurements import ActivationSpec
from unitlens.errors import ArgumentError, StoreError
from unitlens.store.format.encoding import CODECS
from unitlens.store.format.layout import DEFAULT_CODEC
from unitlens.store.writer import is_recorded


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("codec", CODECS)
def test_codec__keeps_every_bit_and_the_content_hash(tmp_path, codec, dtype):
    contents = make_contents(codec=codec, dtype=dtype)
    columns = make_columns(contents)
    columns["relu1/activation"][3, 4] = np.nan
    manifest = write_store(tmp_path / "a.zarr", contents, columns)
    other = write_store(tmp_path / "b.zarr", make_contents(dtype=dtype), columns)
    tree = ul.open_activations(tmp_path / "a.zarr")
    np.testing.assert_array_equal(tree["relu1"].activation, columns["relu1/activation"])
    assert tree.attrs["codec"] == codec
    assert manifest.content_hash == other.content_hash


@pytest.mark.parametrize("codec", CODECS)
def test_codec__stands_in_the_metadata_with_a_checksum_behind_it(tmp_path, codec):
    write_store(tmp_path / "a.zarr", make_contents(codec=codec))
    names = {"lz4": ["blosc"], "lz4-bitshuffle": ["blosc"], "zstd": ["zstd"], "none": []}[codec]
    for path in ("relu1/activation", "label"):
        array = zarr.open_array(tmp_path / "a.zarr", path=path, mode="r")
        codecs = [kind.to_dict() for kind in array.compressors]
        assert [of["name"] for of in codecs] == [*names, "crc32c"]
        if names == ["blosc"]:
            about = codecs[0]["configuration"]
            assert about["typesize"] == array.dtype.itemsize
            assert about["shuffle"] == ("bitshuffle" if "bit" in codec else "noshuffle")


def test_codec__lz4_is_small_where_units_are_silent(tmp_path):
    contents = make_contents(samples=4000)
    columns = make_columns(contents)
    columns["relu1/activation"][:, ::2] = 0
    sizes = {}
    for codec in ("lz4", "none"):
        held = make_contents(samples=4000, codec=codec)
        manifest = write_store(tmp_path / f"{codec}.zarr", held, columns)
        sizes[codec] = sum(sum(file.sizes) for file in manifest.files)
    assert sizes["lz4"] < 0.8 * sizes["none"]


def test_codec__that_there_is_not_is_refused_before_anything_is_written(tmp_path):
    expected = r"codec is 'lzma', but must be one of lz4, lz4-bitshuffle, zstd, none"
    with pytest.raises(ArgumentError, match=expected):
        ul.record_activations(mlp(), Samples(5, (12,)), tmp_path / "a.zarr", codec="lzma")
    assert not list(tmp_path.iterdir())


def test_codec__another_one_of_a_finished_store_is_noticed(tmp_path):
    write_store(tmp_path / "a.zarr")
    with pytest.raises(StoreError, match=r'whose codec is "lz4", not "zstd"; remove it or'):
        is_recorded(tmp_path / "a.zarr", make_contents(codec="zstd"))


def test_record__codec_is_passed_on_and_changes_no_number(tmp_path):
    data = Samples(300, (12,))
    one, two = (
        record_small(mlp(), data, tmp_path / f"{codec}.zarr", codec=codec)
        for codec in ("zstd", "none")
    )
    manifests = [json.loads(path.with_suffix(".json").read_text()) for path in (one, two)]
    assert [manifest["codec"] for manifest in manifests] == ["zstd", "none"]
    assert manifests[0]["content_hash"] == manifests[1]["content_hash"]


@pytest.mark.parametrize("codec", CODECS)
def test_zarrs__writes_and_reads_the_same_and_misses_what_is_missing(tmp_path, codec):
    pytest.importorskip("zarrs", reason="zarrs is an optional extra")
    contents = make_contents(codec=codec)
    expected = make_columns(contents)["relu1/activation"]
    pipeline = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
    with zarr.config.set(pipeline):
        one = write_store(tmp_path / "one.zarr", contents)
    two = write_store(tmp_path / "two.zarr", contents)
    assert one.content_hash == two.content_hash
    np.testing.assert_array_equal(
        ul.open_activations(tmp_path / "one.zarr")["relu1"].activation, expected
    )
    with zarr.config.set(pipeline):
        layer = ul.open_activations(tmp_path / "two.zarr")["relu1"]
        np.testing.assert_array_equal(layer.activation, expected)
        (tmp_path / "two.zarr/relu1/activation/c/3/0").unlink()
        with pytest.raises(StoreError, match=r"c/3/0' of .* is missing; record again"):
            layer.activation.compute()


def test_config__knows_the_same_codecs():
    field = ActivationSpec.model_fields["codec"]
    assert get_args(field.annotation) == CODECS
    assert field.default == DEFAULT_CODEC
