"""The numbers of a unit's page against naive computations and against class statistics."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import percentileofscore

import unitlens as ul
from small_stores import make_columns, make_contents, write_store
from unitlens.errors import ArgumentError
from unitlens.explorer import closest_units as closest
from unitlens.explorer import unit_facts as facts
from unitlens.explorer.unit_markup import places_table
from unitlens.store.format import decoding
from unitlens.store.format.layout import DEFAULT_LAYOUT


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    contents = make_contents(samples=600)
    columns = make_columns(contents)
    path = tmp_path_factory.mktemp("facts") / "acts.zarr"
    write_store(path, contents, columns)
    return ul.open_activations(path), columns


def column_of(store, layer="relu1", unit=5):
    acts, columns = store
    one = acts[layer].activation.isel(unit=unit).compute()
    return one, columns[f"{layer}/activation"][:, unit], columns["label"]


def test_measure_places__are_scipys_mean_percentiles_among_units_with_a_value():
    rng = np.random.default_rng(1)
    values = np.round(rng.normal(size=40), 1)  # with ties
    values[[3, 9]] = np.nan
    units = xr.Dataset(
        {
            "selectivity": ("unit", values),
            "selectivity_se": ("unit", np.full(40, 0.25)),
            "dead": ("unit", values > 0),
            "effective_samples": ("unit", values, {"units": "samples"}),
        },
        coords={"channel": ("unit", np.arange(100, 140))},
    )
    known = values[~np.isnan(values)]

    for channel in (100, 117, 139):
        places = facts.measure_places(units, channel).sel(measure="selectivity")
        value = values[channel - 100]
        assert places["value"] == value
        assert places["error"] == 0.25
        assert places["units"] == 38
        assert float(places["percentile"]) == pytest.approx(
            percentileofscore(known, value, kind="mean")
        )
    assert facts.measure_places(units, 100)["measure"].values.tolist() == ["selectivity"]
    assert np.isnan(facts.measure_places(units, 103)["percentile"].item())


def test_measure_places__refuse_a_unit_that_is_not_there():
    units = xr.Dataset({"mean": ("unit", [1.0])}, coords={"channel": ("unit", [0])})

    with pytest.raises(ArgumentError, match="channel = 3: the table has no such unit"):
        facts.measure_places(units, 3)


def test_class_profile__is_mean_and_standard_error_of_each_class(store):
    one, values, labels = column_of(store)

    profile = facts.class_profile(one)

    for label in range(10):
        group = [float(v) for v, at in zip(values, labels, strict=True) if at == label]
        mean = sum(group) / len(group)
        spread = sum((v - mean) ** 2 for v in group) / (len(group) - 1)
        row = profile.sel({"class": label})
        assert row["mean"].item() == pytest.approx(mean)
        assert row["mean_se"].item() == pytest.approx((spread / len(group)) ** 0.5)
        assert row["count"].item() == len(group)


def test_profile_and_top__from_class_statistics_are_those_of_the_store(store):
    acts, _ = store
    one, _, _ = column_of(store)
    statistics = ul.class_statistics(acts)

    profile = facts.profile_from_statistics(statistics, "relu1", 5)
    top = facts.top_from_statistics(statistics, "relu1", 5, 10)

    xr.testing.assert_allclose(profile, facts.class_profile(one))
    ours = facts.top_responses(one, 10)
    np.testing.assert_allclose(top["activation"], ours["activation"])
    np.testing.assert_allclose(top["quantile"], ours["quantile"])
    assert top["index"].values.tolist() == ours["index"].values.tolist()
    assert top["label"].values.tolist() == ours["label"].values.tolist()


def test_class_quantiles__are_numpys_of_each_class(store):
    one, values, labels = column_of(store)

    quantiles = facts.class_quantiles(one)

    for label in range(10):
        own = np.quantile(values[labels == label].astype(float), facts.QUANTILES)
        np.testing.assert_allclose(quantiles.sel({"class": label}), own)


def test_top_responses__are_the_largest_without_nan():
    values = np.array([0.5, np.nan, 3.0, -1.0, 3.0, 2.0])
    one = xr.DataArray(values, dims="sample", coords={"index": ("sample", np.arange(6) + 10)})

    top = facts.top_responses(one, 3)

    assert top["activation"].values.tolist() == [3.0, 3.0, 2.0]
    assert top["index"].values.tolist() == [12, 14, 15]
    assert top["quantile"].values.tolist() == [1.0, 0.75, 0.5]
    assert facts.top_responses(one, 99)["activation"].values.tolist() == [3, 3, 2, 0.5, -1]


def test_spread_responses__take_one_sample_of_each_part_of_the_ranks_and_follow_the_seed():
    values = np.random.default_rng(2).permutation(1000).astype(float)
    one = xr.DataArray(values, dims="sample", coords={"index": ("sample", np.arange(1000))})

    spread = facts.spread_responses(one, 10, seed=3)

    found = spread["activation"].values
    assert (found // 100).tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    np.testing.assert_allclose(spread["quantile"], found / 999)
    assert values[spread["index"].values].tolist() == found.tolist()
    xr.testing.assert_identical(spread, facts.spread_responses(one, 10, seed=3))
    assert not np.array_equal(found, facts.spread_responses(one, 10, seed=4)["activation"])


def test_mapped_responses__are_the_largest_of_those_with_maps():
    values = np.arange(8.0)
    one = xr.DataArray(values, dims="sample", coords={"index": ("sample", np.arange(8))})

    mapped = facts.mapped_responses(one, [1, 4, 6], 2)

    assert mapped["index"].values.tolist() == [6, 4]
    np.testing.assert_allclose(mapped["quantile"], [6 / 7, 4 / 7])


def test_class_damage__leaves_out_classes_without_a_number():
    increase = np.array([[0.1, np.nan, -0.2], [np.nan, np.nan, np.nan]])
    units = xr.Dataset(
        {
            "class_loss_increase": (("unit", "class"), increase),
            "class_loss_increase_se": (("unit", "class"), increase / 10),
            "class_mean": (("unit", "class"), increase),
        },
        coords={"channel": ("unit", [4, 5]), "class": [0, 1, 2]},
    )

    damage = facts.class_damage(units, 4)

    assert damage["class"].values.tolist() == [0, 2]
    assert damage["class_loss_increase"].values.tolist() == [0.1, -0.2]
    assert list(damage.data_vars) == ["class_loss_increase", "class_loss_increase_se"]
    assert facts.class_damage(units, 5) is None
    assert facts.class_damage(units[["class_mean"]], 4) is None


def test_closest_units__are_those_of_numpys_correlation_in_blocks(store, monkeypatch):
    acts, columns = store
    values = columns["relu1/activation"].astype(float)
    monkeypatch.setattr(closest, "_BLOCK", 7)

    found = closest.closest_units(acts["relu1"].activation, 5, 6)

    expected = np.corrcoef(values.T)[5]
    expected[5] = 0
    order = np.argsort(-np.abs(expected))[:6]
    assert found["place"].values.tolist() == order.tolist()
    np.testing.assert_allclose(found["correlation"], expected[order])
    assert found.attrs == {"samples": 600, "of_samples": 600}


def test_closest_units__leave_out_units_without_a_correlation():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 5))
    values[:, 1], values[3, 2], values[:, 4] = 0.1, np.nan, -values[:, 0]
    layer = xr.DataArray(values, dims=("sample", "unit"))

    found = closest.closest_units(layer, 0)

    assert found["place"].values.tolist() == [4, 3]
    assert found["correlation"].values[0] == pytest.approx(-1)
    assert closest.closest_units(layer, 1).sizes["unit"] == 0


def test_closest_units__read_a_bounded_number_of_samples_of_all_parts():
    rng = np.random.default_rng(0)
    layer = xr.DataArray(rng.normal(size=(3000, 4)), dims=("sample", "unit"))

    parts = closest.correlation_samples(3000, 320)
    found = closest.closest_units(layer, 0, most_samples=320)

    rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    assert np.unique(rows).size == 320
    assert np.unique(rows * 16 // 3000).size == 16
    assert found.attrs == {"samples": 320, "of_samples": 3000}
    expected = np.corrcoef(layer.values[rows].T)[0, found["place"].values]
    np.testing.assert_allclose(found["correlation"], expected)


def test_bytes_read__are_those_of_the_chunks_that_are_decoded(tmp_path, monkeypatch):
    contents = make_contents(samples=40_000, layers={"relu1": 130})
    write_store(tmp_path / "acts.zarr", contents, layout=DEFAULT_LAYOUT)
    layer = ul.open_activations(tmp_path / "acts.zarr")["relu1"].activation
    decoded = []
    real = decoding.decompress

    def count(*given):
        decoded.append(len(real(*given)))
        return real(*given)

    monkeypatch.setattr(decoding, "decompress", count)
    closest.closest_units(layer, 5)

    stated = closest.bytes_read(40_000, 130, 4)
    own_column = stated * 128 / 130  # which is read before the others
    assert stated < 40_000 * 130 * 4
    assert 0.3 * stated < sum(decoded) < 1.3 * (stated + own_column)


def test_measure_places__have_the_intervals_of_accuracy_drops_alone():
    units = xr.Dataset(
        {
            "loss_increase": ("unit", [0.5, 0.1]),
            "loss_increase_se": ("unit", [0.02, 0.01]),
            "loss_increase_low": ("unit", [0.4, 0.0]),  # of drawn pairs: holds that of all pairs
            "loss_increase_high": ("unit", [0.6, 0.2]),
            "accuracy_drop": ("unit", [0.125, 0.0]),
            "accuracy_drop_se": ("unit", [0.03, 0.0]),
            "accuracy_drop_low": ("unit", [0.07, -0.027]),
            "accuracy_drop_high": ("unit", [0.19, 0.027]),
        },
        coords={"channel": ("unit", [0, 1])},
    )
    places = facts.measure_places(units, 0)
    assert places["measure"].values.tolist() == ["loss_increase", "accuracy_drop"]
    assert places["low"].values.tolist()[1:] == [0.07]
    assert np.isnan(places["low"].values[0])

    page = places_table(places)
    assert "<td>0.125 [0.07, 0.19]</td>" in page
    assert "<td>0.5 ± 0.02</td>" in page
    earlier = units.drop_vars(["accuracy_drop_low", "accuracy_drop_high"])
    assert "<td>0.125 ± 0.03</td>" in places_table(facts.measure_places(earlier, 0))
