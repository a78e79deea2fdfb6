"""The tables over all networks hold what the files of each network hold."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from synthetic_results import default_networks, network, write_networks, write_results
from unitlens.analysis.curve_summaries import area_under_curve, random_orders
from unitlens.errors import TableError
from unitlens.hashed_files import write_json
from unitlens.perturbation.join_curves import join_variants
from unitlens.store.backend.netcdf import write_netcdf
from unitlens.tables.results import open_results
from unitlens.tables.tabulate import MEASURED, tabulate
from unitlens.variables.checks import validate
from unitlens.variables.schemas import SCHEMAS


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tables")
    return write_results(directory), default_networks()


def load(directory, name, schema):
    return xr.load_dataset(directory / name / f"{schema}.nc", engine="h5netcdf")


def test_units__are_those_of_every_network(written):
    directory, networks = written
    results = open_results(directory)

    assert results.units.sizes["unit"] == sum(c for n in networks for _, _, c in n.layers)
    for made in networks:
        own = results.units.sel(run=made.name)
        measures = load(directory, made.name, "unit_measures")
        ablation = load(directory, made.name, "unit_ablation")
        assert own["layer"].values.tolist() == measures["layer"].values.tolist()
        np.testing.assert_array_equal(own["channel"], measures["channel"])
        for name in ("selectivity", "class_mean", "preferred_class", "dead", "undefined"):
            np.testing.assert_array_equal(own[name], measures[name])
        for name in ("loss_increase", "class_accuracy_drop", "loss_increase_first_order"):
            np.testing.assert_array_equal(own[name], ablation[name])


def test_units__worst_class_is_the_one_that_loses_most(written):
    units = open_results(written[0]).units
    drop = units["class_accuracy_drop"].values

    np.testing.assert_array_equal(units["class_accuracy_drop_max"], drop.max(1))
    np.testing.assert_array_equal(units["most_damaged_class"], drop.argmax(1))


def test_units__worst_class_is_a_label_whatever_classes_others_have(tmp_path):
    networks = [network(("a",), seed=seed) for seed in (0, 1)]
    final, _ = write_networks(tmp_path, networks)
    path = tmp_path / networks[1].name / "unit_ablation.nc"
    ablation = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    path.unlink()
    some = ablation.isel({"class": slice(0, 4)})
    drop = some["class_accuracy_drop"]
    some["most_damaged_class"] = drop.argmax("class")
    some["class_accuracy_drop_max"] = drop.max("class")
    write_netcdf(some, path)

    tabulate(tmp_path, final)

    units = open_results(tmp_path).units
    expected = np.nanargmax(units["class_accuracy_drop"].values, 1)
    np.testing.assert_array_equal(units["most_damaged_class"], expected)
    assert units["most_damaged_class"].sel(run=networks[1].name).max() == 3


def test_units__of_networks_without_classes_or_gradients_are_joined(tmp_path):
    networks = [network(("a",), seed=seed) for seed in (0, 1)]
    final, _ = write_networks(tmp_path, networks)
    path = tmp_path / networks[0].name / "unit_ablation.nc"
    ablation = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    path.unlink()
    gone = ["class_accuracy_drop_max", "class_accuracy_drop_max_se", "most_damaged_class"]
    gone += ["loss_increase_first_order", "loss_increase_first_order_se"]
    write_netcdf(ablation.drop_dims("class").drop_vars(gone), path)

    tabulate(tmp_path, final)

    units = open_results(tmp_path).units
    without, whole = (units.sel(run=made.name) for made in networks)
    for name in ("class_loss_increase", "class_accuracy_drop_max", "loss_increase_first_order"):
        assert np.isnan(without[name]).all()
        assert np.isfinite(whole[name]).all()
    assert (without["most_damaged_class"] == -1).all()
    rows = open_results(tmp_path).correlations
    first_order = rows.isel(row=rows["measure"].values == "loss_increase_first_order")
    of_run = first_order.isel(row=first_order["scope"].values == "run")
    assert of_run["n"].values.tolist() == [0, 48]


def test_units__of_earlier_versions_get_the_intervals_of_accuracy_drops(tmp_path):
    """Ten classes of 60 samples: errors tell how many hits changed, importance how many samples."""
    made = network(("a",), seed=0)
    final, _ = write_networks(tmp_path, [made])
    path = tmp_path / made.name / "unit_ablation.nc"
    table = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    path.unlink()
    lost = np.random.default_rng(0).binomial(60, 0.05, table["class_accuracy_drop"].shape)
    spread = lost / 60 - (lost / 60) ** 2
    table["class_accuracy_drop"][:] = lost / 60
    table["class_accuracy_drop_se"][:] = np.sqrt(spread / 59)
    share = lost.sum(1) / 600
    table["accuracy_drop"][:] = share
    table["accuracy_drop_se"][:] = np.sqrt((share - share**2) / 599)
    table["loss_increase"][:] = table["class_loss_increase"].mean("class")
    write_netcdf(table.assign_attrs(score="top1", samples=600), path)

    tabulate(tmp_path, final)

    units = open_results(tmp_path).units
    n, p, q = 60, (lost + 1) / 62, 1 / 62
    half = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    np.testing.assert_allclose(units["class_accuracy_drop_low"], p - q - half, atol=1e-7)
    np.testing.assert_allclose(units["class_accuracy_drop_high"], p - q + half, atol=1e-7)
    inside = units["accuracy_drop_low"] < units["accuracy_drop"]
    assert (inside & (units["accuracy_drop"] < units["accuracy_drop_high"])).all()
    assert (units["class_accuracy_drop_max_low"] < units["class_accuracy_drop_max"]).all()


def test_runs__say_what_each_network_is(written):
    directory, networks = written
    runs = open_results(directory).runs.set_index(run="run")

    for made in networks:
        row = runs.sel(run=made.name)
        record = json.loads((directory / made.name / "checkpoint.json").read_text())
        assert row["test_accuracy"] == record["test_accuracy"]
        assert row["epoch"] == record["epoch"]
        assert row["corruption"] == made.spec.dataset.corruption
        assert row["batch_norm"] == made.spec.model.batch_norm
        assert row["dataset"] == "mnist5k"
        members = runs["experiment"].values[row["member"].values]
        assert tuple(members) == made.experiments


def test_runs__one_number_a_measurement(written):
    directory, networks = written
    results = open_results(directory)

    for place, made in enumerate(networks):
        row = results.runs.isel(run=place)
        curve = load(directory, made.name, "cumulative_ablation")
        is_random = [name.startswith("random") for name in curve["order"].values]
        expected = np.mean(
            [
                np.trapezoid(accuracy, curve["ablated_fraction"])
                for accuracy in curve["accuracy"].values[is_random]
            ]
        )
        measures = load(directory, made.name, "unit_measures")
        np.testing.assert_allclose(row["auc"], expected)
        np.testing.assert_allclose(row["mean_selectivity"], measures["selectivity"].mean())
        assert row["units"] == measures.sizes["unit"]
        assert row["dead_units"] == measures["dead"].sum()
    np.testing.assert_allclose(results.runs["auc_normalized"].max(), 1)


def test_curves_and_noise_and_history__equal_the_files(written):
    directory, networks = written
    results = open_results(directory)

    for place, made in enumerate(networks):
        curve, noise, history = (
            load(directory, made.name, schema)
            for schema in ("cumulative_ablation", "noise_robustness", "history")
        )
        np.testing.assert_array_equal(results.curves["accuracy"][place], curve["accuracy"])
        np.testing.assert_array_equal(results.noise["loss"][place], noise["loss"])
        np.testing.assert_array_equal(results.history["test_loss"][place], history["test_loss"])
    assert results.curves.attrs["split"] == "train"
    assert results.curves.attrs["basis"] == "units"
    assert results.curves["order"].values.tolist()[:2] == ["random-0", "random-1"]


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("runs", "runs"),
        ("units", "units"),
        ("curves", "curves"),
        ("noise", "noise"),
        ("history", "histories"),
        ("correlations", "correlations"),
    ],
)
def test_tables__follow_their_schema_and_say_what_they_hold(written, name, schema):
    table = getattr(open_results(written[0]), name)

    validate(table, schema)
    for variable in SCHEMAS[schema].required:
        assert table[variable].attrs["description"]


def test_parquet__is_tidy_and_equal(written):
    results = open_results(written[0])
    frames = {name: pd.read_parquet(written[0] / f"{name}.parquet") for name in ("units", "curves")}
    runs = pd.read_parquet(written[0] / "runs.parquet")

    assert len(frames["units"]) == results.units.sizes["unit"]
    assert {"run", "layer", "channel", "selectivity", "loss_increase"} <= set(frames["units"])
    assert {"loss_increase_first_order", "class_accuracy_drop_max_se"} <= set(frames["units"])
    assert len(runs) == results.runs.sizes["run"]
    assert runs["member_dropout"].sum() == 2
    one = frames["curves"].query("order == 'random-1' and ablated == 3")
    np.testing.assert_array_equal(
        one["accuracy"], results.curves["accuracy"].sel(order="random-1", ablated=3)
    )
    assert one["run"].tolist() == results.curves["run"].values.tolist()


def test_padding__of_curves_with_other_orders_and_points(tmp_path):
    networks = [network(("a",), seed=seed) for seed in (0, 1)]
    final, _ = write_networks(tmp_path, networks)
    path = tmp_path / networks[1].name / "cumulative_ablation.nc"
    curve = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    shorter = curve.isel(order=[2, 0], ablated=[0, 5, 10])
    path.unlink()
    write_netcdf(shorter, path)

    tabulate(tmp_path, final)

    curves = open_results(tmp_path).curves.isel(run=1)
    assert curves.sizes["ablated"] == 11
    np.testing.assert_array_equal(
        curves["accuracy"].sel(order=["random-2", "random-0"], ablated=[0, 1, 2]),
        shorter["accuracy"],
    )
    assert np.isnan(curves["accuracy"].sel(order="random-1")).all()
    assert curves["ablated_units"].values[3:].tolist() == [-1] * 8
    frame = pd.read_parquet(tmp_path / "curves.parquet")
    assert (frame["run"] == networks[1].name).sum() == 6
    auc = area_under_curve(shorter)
    np.testing.assert_allclose(open_results(tmp_path).runs["auc"][1], auc.mean())


def test_curves__of_variants_are_rows_of_their_own(tmp_path):
    networks = [network(("a",), seed=seed) for seed in (0, 1)]
    final, _ = write_networks(tmp_path, networks)
    plain, path = (tmp_path / made.name / "cumulative_ablation.nc" for made in networks)
    curve = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    further = curve.isel(order=[0, 1]).assign_attrs(value="mean")
    further["accuracy"] = further["accuracy"] / 2
    path.unlink()
    write_netcdf(join_variants([curve, further]), path)

    tabulate(tmp_path, final)

    results = open_results(tmp_path)
    main, mean = random_orders(results.curves), random_orders(results.curves, value="mean")
    np.testing.assert_allclose(results.runs["auc"], area_under_curve(main).mean("order"))
    assert mean["order"].values.tolist() == ["mean-units-random-0", "mean-units-random-1"]
    np.testing.assert_array_equal(mean["accuracy"][1], further["accuracy"])
    assert np.isnan(mean["accuracy"][0]).all()
    assert set(results.curves["basis"].values) == {"units"}
    frame = pd.read_parquet(tmp_path / "curves.parquet")
    assert frame.groupby("value").size().to_dict() == {"zero": 2 * 6 * 11, "mean": 2 * 11}

    other = xr.load_dataset(plain, engine="h5netcdf").drop_encoding()
    plain.unlink()
    write_netcdf(other.assign_attrs(value="resample"), plain)
    tabulate(tmp_path, final)
    value = open_results(tmp_path).curves["value"]
    assert value.values.tolist() == [""] * 6 + ["mean"] * 2


def test_tables__hold_of_each_network_what_is_measured_on_it(tmp_path):
    networks = [network(("a",), seed=seed) for seed in (0, 1)]
    write_networks(tmp_path, networks)
    one, two = (made.name for made in networks)

    measured = {
        "a": {"runs": ["cumulative_ablation"], "kept": []},
        "b": {"runs": ["unit_measures"], "kept": []},
    }
    tabulate(tmp_path, {one: ["a"], two: ["b"]}, measured=measured)

    results = open_results(tmp_path)
    assert set(results.units["run"].values) == {two}
    assert results.curves["run"].values.tolist() == [one]
    assert np.isfinite(results.runs["auc"].values).tolist() == [True, False]


def test_units__missing_measurements_are_marked(tmp_path):
    networks = [network(("a",), seed=seed) for seed in (0, 1)]
    final, _ = write_networks(tmp_path, networks)
    (tmp_path / networks[0].name / "unit_ablation.nc").unlink()
    path = tmp_path / networks[1].name / "unit_measures.nc"
    measures = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    path.unlink()
    write_netcdf(measures.isel(unit=slice(24, 48)), path)

    tabulate(tmp_path, final)

    units = open_results(tmp_path).units
    without = units.sel(run=networks[0].name)
    assert np.isnan(without["loss_increase"]).all()
    assert (without["most_damaged_class"] == -1).all()
    first = units.sel(run=networks[1].name, layer="relu1")
    assert np.isfinite(first["loss_increase"]).all()
    assert np.isnan(first["selectivity"]).all()
    assert (first["preferred_class"] == -1).all()
    assert set(first["undefined"].values) == {"not measured"}
    assert open_results(tmp_path).runs["units"].values.tolist() == [48, 24]


def test_units__classes_of_other_data_sets_are_joined(tmp_path):
    networks = [network(("a",), seed=seed) for seed in (0, 1)]
    final, _ = write_networks(tmp_path, networks)
    path = tmp_path / networks[1].name / "unit_measures.nc"
    measures = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    path.unlink()
    write_netcdf(measures.isel({"class": slice(0, 4)}), path)

    tabulate(tmp_path, final)

    means = open_results(tmp_path).units.sel(run=networks[1].name)["class_mean"]
    assert np.isfinite(means[:, :4]).all()
    assert np.isnan(means[:, 4:]).all()


def test_units__classes_are_matched_by_label(tmp_path):
    (made,) = networks = [network(("a",))]
    final, _ = write_networks(tmp_path, networks)
    path = tmp_path / made.name / "unit_measures.nc"
    measures = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    path.unlink()
    some = measures.isel({"class": [0, 3, 7]})  # the other classes have no samples in the split
    write_netcdf(some, path)

    tabulate(tmp_path, final)

    units = open_results(tmp_path).units
    np.testing.assert_array_equal(units["class_mean"].sel({"class": [0, 3, 7]}), some["class_mean"])
    assert np.isnan(units["class_mean"].sel({"class": [1, 2, 4, 5, 6, 8, 9]})).all()
    assert units["class_accuracy_drop"].sizes["class"] == 10


def test_tabulate__tells_looks_inside_epochs_by_parts_of_epochs(tmp_path):
    looks = (0, 0.25, 1, 1.5)
    made = network(("a",), kept=looks)

    final, kept = write_networks(tmp_path, [made])
    tabulate(tmp_path, final | kept)

    results = open_results(tmp_path)
    assert results.runs["epoch"].dtype == np.int64
    assert results.history["epoch"].values.tolist() == list(range(13))
    tables = results.checkpoints
    for name in ("runs", "curves", "noise"):
        assert getattr(tables, name)["epoch"].values.tolist() == list(looks)
    units = {}
    for look, folder in zip(looks, ("0000", "0000.25", "0001", "0001.5"), strict=True):
        stored = tmp_path / made.name / f"epoch-{folder}" / "unit_measures.nc"
        expected = xr.load_dataset(stored, engine="h5netcdf")["selectivity"].values
        units[look] = tables.units.sel(run=made.name, epoch=look)["selectivity"].values
        np.testing.assert_array_equal(units[look], expected)
    frame = pd.read_parquet(tmp_path / "checkpoints/units.parquet")
    np.testing.assert_array_equal(frame[frame["epoch"] == 0.25]["selectivity"], units[0.25])
    of_runs = tables.correlations
    rows = np.flatnonzero((of_runs["scope"] == "run") & (of_runs["measure"] == "selectivity"))
    assert of_runs["epoch"].values[rows].tolist() == list(looks)
    losses = [history_at(results, made.name, look) for look in looks]
    np.testing.assert_allclose(tables.runs["test_loss"].values, losses)


def history_at(results, run, look):
    """Return the test loss between two epochs, as the made-up networks have it."""
    own = results.history.sel(run=run)
    return np.interp(look, own["epoch"].values, own["test_loss"].values)


def test_tabulate__writes_runs_and_kept_epochs_apart(tmp_path):
    networks = [network(("a",), kept=(0, 2)), network(("b",), seed=1, kept=(4,))]
    final, kept = write_networks(tmp_path, networks)
    measured = {
        "a": {"runs": MEASURED, "kept": ["cumulative_ablation"]},
        "b": {"runs": ["unit_measures"], "kept": []},
    }

    sizes = tabulate(tmp_path, final | kept, measured=measured)

    results = open_results(tmp_path)
    one, two = (made.name for made in networks)
    assert results.runs["run"].values.tolist() == [one, two]
    assert results.curves["run"].values.tolist() == [one]
    assert results.checkpoints.runs["epoch"].values.tolist() == [0, 2, 4]
    assert results.checkpoints.curves["epoch"].values.tolist() == [0, 2]
    assert {name: set(tables) for name, tables in sizes.items()} == {
        "final": {"runs", "units", "curves", "noise", "history", "correlations"},
        "checkpoints": {"runs", "curves"},
    }
    assert sizes["checkpoints"]["curves"] == dict(results.checkpoints.curves.sizes)
    assert results.checkpoints.runs["epoch"].dtype == np.int64

    assert set(tabulate(tmp_path, final, measured=measured)) == {"final"}
    with pytest.raises(TableError, match="no table of kept epochs"):
        _ = open_results(tmp_path).checkpoints


def test_tabulate__joins_what_any_experiment_of_a_network_measures(tmp_path):
    final, _ = write_networks(tmp_path, [network(("a", "b"))])
    measured = {"a": {"runs": ["unit_measures"], "kept": []}, "b": {"runs": [], "kept": []}}

    one = tabulate(tmp_path, final, measured=measured)
    measured["b"]["runs"] = ["noise_robustness"]
    both = tabulate(tmp_path, final, measured=measured)

    assert set(one["final"]) == {"runs", "units", "history"}
    assert set(both["final"]) == {"runs", "units", "history", "noise"}


def test_tabulate__names_an_experiment_of_which_no_measurement_is_told(tmp_path):
    measured = {"dropout": {"runs": [], "kept": []}}

    with pytest.raises(
        TableError,
        match=r"the network one belongs to the experiment 'drop', but measured .* 'dropout'",
    ):
        tabulate(tmp_path, {"one": ("drop",)}, measured=measured)


def test_tabulate__leaves_out_what_an_earlier_configuration_measured(tmp_path):
    final, _ = write_networks(tmp_path, [network(("a",))])

    measured = {"a": {"runs": ["unit_measures"], "kept": []}}
    sizes = tabulate(tmp_path, final, measured=measured)["final"]

    assert set(sizes) == {"runs", "units", "history"}
    assert "loss_increase" not in open_results(tmp_path).units


def test_tabulate__leaves_out_tables_without_a_measurement(tmp_path):
    networks = [network(("a",))]
    without = ("noise_robustness", "cumulative_ablation", "unit_ablation")
    write_results(tmp_path, networks)
    shutil.rmtree(tmp_path / networks[0].name)
    final, _ = write_networks(tmp_path, networks, without=without)

    sizes = tabulate(tmp_path, final)["final"]

    assert set(sizes) == {"runs", "units", "history"}
    assert sizes["units"] == {"unit": 48, "class": 10}
    assert not (tmp_path / "noise.zarr").exists()
    assert not (tmp_path / "correlations.parquet").exists()
    assert np.isnan(open_results(tmp_path).runs["auc"]).all()
    with pytest.raises(TableError, match=r"no table 'noise' .*snakemake --cores 8 all"):
        _ = open_results(tmp_path).noise


def test_tabulate__same_files_give_the_same_bytes(tmp_path):
    final, _ = write_networks(tmp_path, [network(("a",))])

    tabulate(tmp_path, final)
    files = ["tables.json", *open_results(tmp_path).record.files]
    first = {file: (tmp_path / file).read_bytes() for file in files}
    tabulate(tmp_path, final)

    assert len(files) > 50
    for file in files:
        assert (tmp_path / file).read_bytes() == first[file], file


def test_tabulate__names_the_network_without_a_record(tmp_path):
    with pytest.raises(TableError, match=r"the network gone has no .*checkpoint.json; train it"):
        tabulate(tmp_path, {"gone": ("a",)})
    with pytest.raises(TableError, match="there is no network to tabulate"):
        tabulate(tmp_path, {})


def test_tabulate__refuses_a_damaged_record(tmp_path):
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "checkpoint.json", {"epoch": 3})

    with pytest.raises(TableError, match=r"checkpoint.json is no record of a network \(KeyError"):
        tabulate(tmp_path, {"run": ("a",)})


def test_groups__tell_apart_runs_that_differ_in_any_field():
    from unitlens.config.networks import RunSpec
    from unitlens.tables.run_table import _setting_columns

    def settings(**training):
        values = {
            "dataset": {"name": "mnist5k"},
            "model": {"name": "mlp"},
            "training": {"epochs": 3, **training},
        }
        return _setting_columns(RunSpec.model_validate(values))["settings"]

    assert settings() == ""
    assert settings(momentum=0.5) == "training.momentum=0.5"
    assert settings(schedule={"name": "cosine"}) == 'training.schedule.name="cosine"'
