"""Rank correlations, against ranks counted by hand and scipy."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kendalltau, spearmanr

from unitlens.analysis.correlations import correlation_table, rank_correlations
from unitlens.errors import TableError


def units(size=60, runs=("a", "b"), seed=0):
    rng = np.random.default_rng(seed)
    count = size * len(runs)
    layers = np.tile(np.repeat(np.array(["relu1", "relu2"], object), size // 2), len(runs))
    selectivity = np.round(rng.random(count), 1)  # many ties
    columns = {
        "selectivity": selectivity,
        "mutual_information": rng.random(count),
        "l1_norm": rng.random(count),
        "loss_increase": np.round(rng.random(count) - selectivity, 1),
    }
    return xr.Dataset(
        {name: ("unit", values) for name, values in columns.items()},
        coords={
            "run": ("unit", np.repeat(np.array(runs, object), size)),
            "epoch": ("unit", np.full(count, 7)),
            "layer": ("unit", layers),
            "depth": ("unit", (layers == "relu2").astype(int)),
            "channel": ("unit", np.tile(np.arange(size), len(runs))),
        },
    )


def naive_spearman(x, y):
    """Pearson's correlation of mean ranks, with each rank counted by hand."""
    ranks = [np.array([np.mean(np.flatnonzero(np.sort(v) == a)) for a in v]) for v in (x, y)]
    return np.corrcoef(*ranks)[0, 1]


def test_rank_correlations__by_hand():
    made = xr.Dataset(
        {
            "loss_increase": ("unit", [1.0, 2.0, 3.0, 4.0, 5.0]),
            "selectivity": ("unit", [2.0, 1.0, 4.0, 3.0, 5.0]),
        }
    )

    rows = rank_correlations(made, measures=["selectivity"], by=())

    # 1 - 6 sum d^2 / n (n^2 - 1), d^2 = 1 + 1 + 1 + 1 + 0
    np.testing.assert_allclose(rows["spearman"], 1 - 6 * 4 / (5 * 24))
    assert rows["n"].values.tolist() == [5]


def test_rank_correlations__ties_have_mean_ranks():
    made = units()

    rows = rank_correlations(made, by=["run", "layer"])

    assert rows.sizes["row"] == 2 * 2 * 3
    for i in range(rows.sizes["row"]):
        row = rows.isel(row=i)
        own = made.isel(
            unit=np.flatnonzero((made.run == row.run.item()) & (made.layer == row.layer.item()))
        )
        x, y = own["loss_increase"].values, own[row.measure.item()].values
        np.testing.assert_allclose(row["spearman"], naive_spearman(x, y))
        np.testing.assert_allclose(row["p_value"], spearmanr(x, y).pvalue)
        assert row["n"].item() == 30


def test_rank_correlations__agree_in_sign_with_kendall():
    made = units(200)

    rho = rank_correlations(made, by=(), measures=["selectivity"])["spearman"].item()

    assert rho < 0
    assert kendalltau(made["selectivity"], made["loss_increase"]).statistic < 0


def test_rank_correlations__constant_or_too_few_is_undefined_with_n():
    made = units(10, runs=("a",))
    made["l1_norm"][:] = 3.0
    made["mutual_information"][2:] = np.nan

    rows = rank_correlations(made).set_index(row="measure")

    assert np.isnan(rows.sel(row=["l1_norm", "mutual_information"])["spearman"]).all()
    assert np.isnan(rows.sel(row=["l1_norm", "mutual_information"])["p_value"]).all()
    assert rows.sel(row="l1_norm")["n"] == 10
    assert rows.sel(row="mutual_information")["n"] == 2


def test_rank_correlations__leave_unmeasured_units_out():
    made = units(30, runs=("a",))
    known = made.isel(unit=slice(0, 20))
    made["loss_increase"][20:] = np.nan

    both = [rank_correlations(table)["spearman"].values for table in (made, known)]

    np.testing.assert_array_equal(*both)


def test_rank_correlations__unknown_names_get_a_hint():
    with pytest.raises(TableError, match="has no 'selectivty'; did you mean 'selectivity'"):
        rank_correlations(units(), measures=["selectivty"])
    with pytest.raises(TableError, match="has no 'layr'; did you mean 'layer'"):
        rank_correlations(units(), by=["layr"])


def test_correlation_table__has_networks_layers_and_experiments():
    made = units()

    table = correlation_table(made, {"both": ["a", "b"], "first": ["a"]})

    scopes = table["scope"].values
    assert [(scopes == scope).sum() for scope in ("run", "layer", "pooled")] == [6, 12, 6]
    pooled = table.isel(row=np.flatnonzero(scopes == "pooled"))
    assert pooled["experiment"].values.tolist() == ["both"] * 3 + ["first"] * 3
    assert pooled["n"].values.tolist() == [120] * 3 + [60] * 3
    np.testing.assert_allclose(
        pooled["spearman"][0],
        spearmanr(made["loss_increase"], made["selectivity"]).statistic,
    )
    first = table["spearman"].values[(scopes == "run") & (table["run"].values == "a")]
    np.testing.assert_array_equal(pooled["spearman"].values[3:], first)


def test_correlation_table__pools_kept_epochs_one_by_one():
    early, late = units(), units(seed=1)
    late["epoch"][:] = 9
    both = xr.concat([early, late], "unit")

    table = correlation_table(both, {"both": ["a", "b"]})

    pooled = table.isel(row=np.flatnonzero(table["scope"].values == "pooled"))
    assert pooled["epoch"].values.tolist() == [7] * 3 + [9] * 3
    assert pooled["n"].values.tolist() == [120] * 6


def test_correlation_table__has_the_first_order_estimate_where_it_is_known():
    made = units()
    made["loss_increase_first_order"] = made["loss_increase"] ** 3

    table = correlation_table(made, {"both": ["a", "b"]})

    rows = table.isel(row=table["measure"].values == "loss_increase_first_order")
    assert rows["scope"].values.tolist() == ["run"] * 2 + ["layer"] * 4 + ["pooled"]
    np.testing.assert_allclose(rows["spearman"], 1)


def test_rank_correlations__of_estimates_are_corrected_for_attenuation():
    random = np.random.default_rng(0)
    truth, errors = random.normal(size=(2, 4000))
    measure = truth + random.normal(size=4000)
    units = xr.Dataset(
        {
            "loss_increase": ("unit", truth + 0.7 * errors),
            "loss_increase_sampling_se": ("unit", np.full(4000, 0.7)),
            "selectivity": ("unit", measure),
        }
    )
    rows = rank_correlations(units, by=())
    expected = spearmanr(truth, measure).statistic

    assert float(rows["reliability"][0]) == pytest.approx(1 / (1 + 0.49), abs=0.02)
    assert float(rows["spearman"][0]) < expected - 0.08
    assert float(rows["spearman_corrected"][0]) == pytest.approx(expected, abs=0.03)


def test_rank_correlations__of_exact_importance_have_no_reliability():
    units = xr.Dataset(
        {name: ("unit", np.arange(5.0)) for name in ("loss_increase", "selectivity")}
    )
    assert "reliability" not in rank_correlations(units, by=())
