"""Networks of the same data: both ends of generalisation, and AUC beside it, by hand."""

import numpy as np
import pytest
from scipy.stats import sem, t

from synthetic_results import CONVNET, network, write_results
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.evidence_same_data import same_data
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.verdict import judge
from unitlens.tables.results import open_results

RATES = np.geomspace(0.003, 0.09, 12).tolist()
CURVES_ONLY = ("unit_measures", "unit_ablation", "noise_robustness")


def trained(rates, seeds):
    return [
        network(("same",), seed=seed, training={"learning_rate": rate}, **CONVNET)
        for rate in rates
        for seed in seeds
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return results of twelve settings of two seeds, and of one setting of twelve seeds."""
    directory = tmp_path_factory.mktemp("same_data")
    one_setting = [
        network(("seeds",), seed=seed, training={"batch_size": 7}, **CONVNET) for seed in range(12)
    ]
    networks = trained(RATES, (1, 2)) + one_setting
    return open_results(write_results(directory, networks, without=CURVES_ONLY))


def runs_of(results, experiment):
    member = results.runs["member"].sel(experiment=experiment).values
    return Runs(results, results.runs.isel(run=np.flatnonzero(member)))


def measure(runs, claim):
    return dict(same_data(runs))[claim]()


def fraction_at_half(results, run):
    own = results.curves.sel(run=run, order=[f"random-{i}" for i in range(4)])
    accuracy, fraction = own["accuracy"].mean("order").values, own["ablated_fraction"].values
    kept = np.isfinite(accuracy)
    return np.interp(-0.5, -accuracy[kept], fraction[kept])


def by_setting(results):
    """Return test accuracy and ablated share at half accuracy of each setting, best first."""
    table = runs_of(results, "same").table
    rows = []
    for rate in np.unique(table["learning_rate"].values):
        own = table.isel(run=np.flatnonzero(table["learning_rate"].values == rate))
        fractions = [fraction_at_half(results, run) for run in own["run"].values]
        rows.append((float(own["test_accuracy"].mean()), np.mean(fractions)))
    return np.array(sorted(rows, reverse=True))


@pytest.mark.parametrize(("claim", "places"), [("best", slice(3)), ("worst", slice(-3, None))])
def test_ends__are_settings_by_mean_test_accuracy_each_of_which_counts_once(results, claim, places):
    rows = by_setting(results)[places]

    evidence = measure(runs_of(results, "same"), claim)

    assert evidence.estimate.value == pytest.approx(rows[:, 1].mean())
    expected = t.interval(0.95, 2, rows[:, 1].mean(), sem(rows[:, 1]))
    assert evidence.estimate.interval() == pytest.approx(expected)
    assert (evidence.estimate.over, evidence.networks) == ("settings", 6)
    error = 1 - rows[:, 0].mean()
    assert f"mean test error of the {claim} 3 settings (6 networks): {error:.3f}" in evidence.notes


def test_best_minus_worst__is_welchs_over_settings(results):
    from scipy.stats import ttest_ind

    shares = by_setting(results)[:, 1]
    expected = ttest_ind(shares[:3], shares[-3:], equal_var=False).confidence_interval()

    estimate = measure(runs_of(results, "same"), "falls").estimate

    assert estimate.interval() == pytest.approx((expected.low, expected.high))


def test_networks_of_one_setting__count_one_by_one(results):
    runs = runs_of(results, "seeds")
    best = np.argsort(-runs.table["test_accuracy"].values)[:3]
    shares = [fraction_at_half(results, run) for run in runs.table["run"].values[best]]

    evidence = measure(runs, "best")

    assert evidence.estimate.interval() == pytest.approx(
        t.interval(0.95, 2, np.mean(shares), sem(shares))
    )
    assert (evidence.estimate.over, evidence.networks) == ("networks", 3)


def test_few_settings__give_no_statement_on_others(results):
    """A quarter of eight settings is two; of three settings there is no quarter."""
    table = runs_of(results, "same").table
    some = table.isel(run=np.flatnonzero(table["learning_rate"].values < RATES[8] - 1e-9))
    few = table.isel(run=np.flatnonzero(table["learning_rate"].values < RATES[3] - 1e-9))

    evidence = measure(Runs(results, some), "best")

    assert evidence.networks == 4
    assert not evidence.over_networks
    with pytest.raises(NotMeasuredError, match="at least 4 settings, or 4 networks of one setting"):
        measure(Runs(results, few), "best")


@pytest.mark.parametrize(
    ("experiment", "column", "word"),
    [("same", "learning_rate", "settings"), ("seeds", "seed", "networks")],
)
def test_auc__is_correlated_with_the_error_over_settings(results, experiment, column, word):
    """By a naive jackknife that leaves out one setting at a time."""
    runs = runs_of(results, experiment)
    units = runs.table[column].values
    auc, error = runs.table["auc"].values, 1 - runs.table["test_accuracy"].values

    def z(kept):
        return np.arctanh(np.corrcoef(auc[kept], error[kept])[0, 1])

    left_out = np.array([z(units != unit) for unit in np.unique(units)])
    half = t.ppf(0.975, 11) * np.sqrt(11 / 12 * ((left_out - left_out.mean()) ** 2).sum())
    whole = z(units == units)

    estimate = measure(runs, "correlation").estimate

    assert estimate.value == pytest.approx(np.tanh(whole))
    assert estimate.interval() == pytest.approx((np.tanh(whole - half), np.tanh(whole + half)))
    assert estimate.over == word


def test_correlation__has_the_direction_of_the_paper_where_robust_networks_generalise(results):
    """The made-up networks farther from the best learning rate have less AUC and more error."""
    (claim,) = (of for of in PAPER_CLAIMS["same_data"].claims if of.name == "correlation")

    assert judge(claim, measure(runs_of(results, "same"), "correlation")) == "same direction"


def test_shares__are_of_all_maps_of_the_network():
    claims = {claim.name: claim.finding for claim in PAPER_CLAIMS["same_data"].claims}

    assert claims["best"].value == pytest.approx(0.5114, abs=1e-4)  # 1,440 of 2,816
    assert claims["worst"].value == pytest.approx(0.1776, abs=1e-4)  # 500 of 2,816
    assert PAPER_CLAIMS["same_data"].protocol.ablated_units == 2816
    assert PAPER_CLAIMS["batch_norm_ablation"].protocol.ablated_units == 1536
