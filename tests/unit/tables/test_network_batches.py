"""Tables are the same, however many networks are read at a time and by however many processes."""

import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from synthetic_results import network, write_networks
from unitlens.errors import TableError, UsedUpMemoryError
from unitlens.store.backend.netcdf import read_netcdf, write_netcdf
from unitlens.tables import network_batches
from unitlens.tables.results import open_results
from unitlens.tables.tabulate import tabulate
from unitlens.tables.unit_blocks import UnitBlocks, write_block

NETWORKS = [
    network(("a",), seed=0, kept=(1,)),
    network(("a", "b"), seed=1, name="mlp", widths=[7, 3, 5]),
    network(("b",), seed=2),
    network(("b",), seed=3),
]


@pytest.fixture
def written(tmp_path):
    """Return networks of which one has no ablation, one other classes, one other variables."""
    final, kept = write_networks(tmp_path, NETWORKS)
    measures = [tmp_path / made.name / "unit_measures.nc" for made in NETWORKS]
    ablations = [tmp_path / made.name / "unit_ablation.nc" for made in NETWORKS]
    ablations[1].unlink()
    replace(measures[2], lambda table: table.isel({"class": slice(3, 8)}))
    replace(ablations[3], sampled)
    return tmp_path, final | kept


def sampled(table):
    """Add what only drawn pairs of a unit and a sample have."""
    numbers = np.arange(table.sizes["unit"])
    return table.assign(pairs=("unit", numbers), effective_samples=("unit", numbers / 2))


def replace(path, change):
    """Write a file anew."""
    table = change(read_netcdf(path).drop_encoding())
    path.unlink()
    write_netcdf(table, path)


def bytes_of(directory):
    files = open_results(directory).record.files
    return {file: (directory / file).read_bytes() for file in files}


def naive_units(directory, names):
    """Join the units network by network, with xarray's own merge and concat."""
    tables = []
    for name in names:
        parts = []
        for schema in ("unit_measures", "unit_ablation"):
            path = directory / name / f"{schema}.nc"
            if path.exists():
                table = xr.load_dataset(path, engine="h5netcdf").drop_attrs()
                keys = pd.MultiIndex.from_arrays([table["layer"].values, table["channel"].values])
                indexed = table.drop_vars(["layer", "channel"]).assign_coords(
                    unit=np.arange(len(keys))
                )
                assert keys.is_unique
                parts.append(indexed)
        tables.append(xr.merge(parts, join="outer", compat="override"))
    fill = {
        name: {"i": -1, "O": "not measured", "b": False}[array.dtype.kind]
        for table in tables
        for name, array in table.data_vars.items()
        if array.dtype.kind in "iOb"
    }
    return xr.concat(tables, "unit", join="outer", fill_value=fill, data_vars="all")


def test_units__equal_a_plain_concat(written, monkeypatch):
    directory, networks = written
    monkeypatch.setattr(network_batches, "BATCH_BYTES", 1)
    tabulate(directory, networks)

    units = open_results(directory).units
    naive = naive_units(directory, [made.name for made in NETWORKS])
    assert set(units.data_vars) == set(naive.data_vars)
    for name, array in naive.data_vars.items():
        expected = array.transpose(*units[name].dims).values
        np.testing.assert_array_equal(units[name], expected, err_msg=name)
    assert units["run"].values.tolist() == [
        made.name for made in NETWORKS for _, _, count in made.layers for _ in range(count)
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_tables__have_the_same_bytes_in_batches_of_one_network(written, monkeypatch, threads):
    directory, networks = written
    tabulate(directory, networks)
    whole, sizes = bytes_of(directory), open_results(directory).record.tables
    inputs = open_results(directory).record.provenance["inputs"]
    rows = pd.read_parquet(directory / "units.parquet")

    monkeypatch.setattr(network_batches, "BATCH_BYTES", 1)
    tabulate(directory, networks, threads=threads)

    parts = bytes_of(directory)
    assert open_results(directory).record.tables == sizes
    assert open_results(directory).record.provenance["inputs"] == inputs
    assert {file for file in whole if whole[file] != parts.get(file)} == {"units.parquet"}
    assert set(parts) == set(whole)
    pd.testing.assert_frame_equal(pd.read_parquet(directory / "units.parquet"), rows)
    assert not list(directory.rglob("*.npz"))


def test_error__of_another_process_is_the_same_line(written, monkeypatch):
    directory, networks = written
    monkeypatch.setattr(network_batches, "BATCH_BYTES", 1)
    path = directory / NETWORKS[3].name / "unit_measures.nc"
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(TableError, match=rf"{path} .*run snakemake again"):
        tabulate(directory, networks, threads=2)
    assert not list(directory.glob(".tables.partial"))


def test_process_that_the_system_ends__is_told_with_a_remedy(written, monkeypatch):
    directory, networks = written
    monkeypatch.setattr(network_batches, "BATCH_BYTES", 1)

    def broken(*_):
        raise BrokenProcessPool

    monkeypatch.setattr(ProcessPoolExecutor, "map", broken)
    with pytest.raises(UsedUpMemoryError, match=r"ended by the system.*--set-threads tabulate=1"):
        tabulate(directory, networks, threads=2)


def test_memory__is_that_of_a_block_and_not_of_all_units(tmp_path):
    def blocks(count, units=500):
        where = {"layer": "relu1", "depth": 0, "channel": np.arange(units)}
        where = {key: np.full(units, value) for key, value in where.items()} | {
            "network": np.zeros(units, int)
        }
        rows = xr.Dataset(
            {"class_mean": (("unit", "class"), np.random.default_rng(0).random((units, 500)))},
            coords={name: ("unit", values) for name, values in where.items()},
        )
        names = np.array([f"run-{number}" for number in range(count)], object)
        identity = xr.Dataset(coords={"run": names, "epoch": ("run", np.zeros(count, int))})
        paths = [tmp_path / f"{number}.npz" for number in range(count)]
        written = [(number, write_block(rows, path)) for number, path in enumerate(paths)]
        return UnitBlocks(written, identity, {})

    def write(joined):
        table = joined.write_zarr(tmp_path / "units.zarr")
        joined.write_parquet(tmp_path / "units.parquet")
        return table

    write(blocks(1))  # imports need memory, too
    many = blocks(60)
    tracemalloc.start()
    table = write(many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert table.nbytes > 120e6
    assert peak < 0.5 * table.nbytes
