"""Comparison with the paper, against naive loops over synthetic results."""

import csv
import itertools
import shutil
from importlib import import_module
from inspect import get_annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import nct, sem, spearmanr, t
from typer.testing import CliRunner

from synthetic_results import (
    CONVNET,
    MLP,
    default_networks,
    network,
    write_networks,
    write_results,
)
from unitlens.analysis.run_groups import members_of
from unitlens.catalogue.comparisons import COMPARISONS
from unitlens.catalogue.figures import FIGURES
from unitlens.cli.main import app
from unitlens.config.runs import dataset_name
from unitlens.errors import TableError
from unitlens.hashed_files import read_json, write_json
from unitlens.reproduction import evidence_units
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.compare import compare_with_paper, evidence_function
from unitlens.reproduction.evidence import Measurements
from unitlens.reproduction.evidence_curves import clamping
from unitlens.reproduction.evidence_distributions import batch_norm_information, bump, mode
from unitlens.reproduction.evidence_follow_ups import regulariser
from unitlens.reproduction.evidence_same_data import fraction_at_half
from unitlens.reproduction.evidence_units import cifar10_importance, correlation_within_layers
from unitlens.reproduction.experiment_runs import Runs
from unitlens.reproduction.follow_ups import CLAIM_GROUPS, FOLLOW_UP_CLAIMS
from unitlens.store.backend.netcdf import write_netcdf
from unitlens.tables.results import open_results
from unitlens.tables.tabulate import tabulate

THIRD_SEED = [
    network(("memorisation",), corruption=corruption, seed=2, **MLP) for corruption in (0.0, 1.0)
]
SWEEP = [
    network(("sweep",), seed=seed, corruption=0.1 * rate, **CONVNET)
    for rate, seed in itertools.product(range(8), (3, 4))
]
REGULARISED = [
    network(("regulariser",), seed=seed, training={"selectivity_regulariser": alpha}, **MLP)
    for alpha in (-2.0, 0.0, 0.1)
    for seed in (5, 6, 7)
]
CAUSES = {
    "mnist_ablation": {"dropout": "no dropout"},
    "same_data": {"batch_norm": "too few networks"},
    "dropout": {"dropout": "another seed"},
}
CLAIMS = {
    "mnist_ablation": ["memorisation"],
    "mnist_noise": ["memorisation"],
    "same_data": ["sweep"],
    "early_stopping": ["memorisation"],
    "hyperparameter_selection": ["sweep"],
    "dropout": ["dropout"],
    "batch_norm_ablation": ["batch_norm"],
    "batch_norm_selectivity": ["batch_norm"],
    "mnist_importance": ["memorisation"],
    "cifar10_importance": ["sweep"],
    "clamping": ["memorisation"],
    "cifar10_l1_norm": ["sweep"],
    "cifar10_l1_importance": ["sweep"],
    "mnist_measure_orders": ["memorisation"],
    "mnist_class_damage": ["memorisation"],
    "mnist_measure_agreement": ["memorisation"],
    "regulariser": ["regulariser"],
    "selectivity_over_training": ["memorisation"],
    "cifar10_selectivity_depth": ["sweep"],
    "largest_auc": ["memorisation"],
    "dropout_training": ["dropout"],
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Return a results directory, and the rows of its comparison by group and claim."""
    directory = tmp_path_factory.mktemp("paper")
    write_results(directory, default_networks() + THIRD_SEED + SWEEP + REGULARISED)
    (directory / "figures").mkdir()
    drawn = {
        "memorisation_noise": ["memorisation"],
        "measure_orders": ["memorisation", "other"],
        "dropout_ablation": ["other"],
    }
    listed = [{"name": name, "experiments": of} for name, of in drawn.items()]
    inputs = {"tables.json": open_results(directory).record.hash}
    drawn_from = {"figures": listed, "files": {}, "provenance": {"inputs": inputs}}
    write_json(directory / "figures/figures.json", drawn_from)
    write_benchmarks(directory)
    compare_with_paper(
        directory, CLAIMS, directory, causes=CAUSES, command="snakemake --configfile x.yaml"
    )
    return directory, {(r["group"], r["claim"]): r for r in rows_of(directory) if not r["cause"]}


def write_benchmarks(directory):
    """Write benchmark files of the two networks with dropout, with 60 s of training each."""
    for run in runs_of(directory, "dropout")["run"].values:
        for path, seconds in (
            (f"train/{run}.tsv", 60.0),
            (f"unit_ablation/{run}.tsv", 20.0),
            (f"unit_ablation/{run}/epoch-0001.tsv", 10.0),
            (f"noise_robustness/{run}.tsv", 10.0),
        ):
            place = directory / "benchmarks" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"s\tcpu_time\n{seconds}\t{seconds / 2}\n")


def rows_of(directory):
    with (directory / "paper.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def runs_of(directory, experiment, **spec):
    runs = open_results(directory).runs
    chosen = runs["member"].sel(experiment=experiment).values.copy()
    for name, value in spec.items():
        chosen &= runs[name].values == value
    return runs.isel(run=np.flatnonzero(chosen))


def test_claims__are_declared_for_each_comparison():
    assert set(PAPER_CLAIMS).isdisjoint(FOLLOW_UP_CLAIMS)
    assert list(COMPARISONS) == [*PAPER_CLAIMS, *FOLLOW_UP_CLAIMS] == list(CLAIM_GROUPS)
    for name, group in CLAIM_GROUPS.items():
        names = [claim.name for claim in group.claims]
        assert len(set(names)) == len(names)
        assert set(group.figures) <= set(FIGURES)
        assert (group.protocol is None) == (name in FOLLOW_UP_CLAIMS)


@pytest.mark.parametrize("group", COMPARISONS)
def test_comparison__has_a_function_that_measures_its_claims(compared, group):
    results = open_results(compared[0])

    measurements = dict(evidence_function(group)(Runs(results, results.runs)))

    assert set(measurements) == {claim.name for claim in CLAIM_GROUPS[group].claims}


def test_evidence_functions__are_all_declared():
    """Each public generator of the modules of evidence belongs to a comparison."""
    declared = {(of.module, of.function) for of in COMPARISONS.values()}
    for name in {of.module for of in COMPARISONS.values()}:
        module = import_module(f"unitlens.reproduction.{name}")
        for function in vars(module).values():
            if getattr(function, "__module__", "") != module.__name__ or not callable(function):
                continue
            if get_annotations(function).get("return") is Measurements:
                public = not function.__name__.startswith("_")
                assert ((name, function.__name__) in declared) == public


def test_claims__have_the_values_of_the_paper():
    values = {
        (name, claim.name): getattr(claim.finding, "value", None)
        for name, group in CLAIM_GROUPS.items()
        for claim in group.claims
    }

    assert values["mnist_ablation", "corruption 0.4"] == 0.44
    assert values["same_data", "worst"] == 500 / 2816
    assert values["batch_norm_ablation", "with-1200"] == 0.52
    assert values["batch_norm_ablation", "without-800"] == 0.35
    assert values["cifar10_importance", "layer-10"] == -0.11
    assert values["imagenet_importance", "first"] == -0.75


def test_every_claim__has_a_row(compared):
    _, rows = compared

    expected = [
        (name, claim.name) for name, group in CLAIM_GROUPS.items() for claim in group.claims
    ]
    assert list(rows) == expected
    assert rows["imagenet_ablation", "order"]["verdict"] == "not measured"
    assert rows["imagenet_ablation", "order"]["notes"] == (
        "no experiment is named for this group of results"
    )


def t_interval(values):
    """Return the interval of the mean of a few numbers, by SciPy."""
    return t.interval(0.95, len(values) - 1, np.mean(values), sem(values))


def interval_of(row):
    return float(row["low"]), float(row["high"])


def test_ablation__is_the_mean_auc_of_a_level(compared):
    directory, rows = compared
    row = rows["mnist_ablation", "corruption 1"]
    auc = runs_of(directory, "memorisation", corruption=1.0)["auc"].values

    assert float(row["ours"]) == pytest.approx(auc.mean(), abs=6e-4)
    assert interval_of(row) == pytest.approx(t_interval(auc), abs=6e-4)
    assert (row["networks"], row["units"], row["orders"]) == ("3", "144", "4")
    assert row["interval_over"] == "networks"
    assert "3 of 3 networks did not memorise their labels" in row["notes"]
    assert rows["mnist_ablation", "corruption 0"]["notes"] == ""
    assert rows["mnist_ablation", "corruption 0.2"]["notes"] == "no network has corruption = 0.2"


def test_power__is_against_the_alternative_of_the_claim(compared):
    """Corruption 1 has .34 in the paper, the level before it .36: .02, of which .01 is reading."""
    directory, rows = compared
    row = rows["mnist_ablation", "corruption 1"]
    auc = runs_of(directory, "memorisation", corruption=1.0)["auc"].values
    se, limit = auc.std(ddof=1) * np.sqrt(1 / 3 + 1), t.ppf(0.975, 2)

    expected = nct.sf(limit, 2, 0.01 / se) + nct.cdf(-limit, 2, 0.03 / se)

    assert float(row["power"]) == pytest.approx(expected, abs=6e-3)
    assert (row["alternative"], row["verdict"]) == ("0.36", "compatible")
    assert row["reason"] == "the paper's value of a neighbouring level"


def test_fewer_than_three_networks__have_the_spread_within_them_and_no_verdict(compared):
    """Corruption .5 has two networks, so that the order of levels has no verdict either."""
    _, rows = compared
    order, past = rows["mnist_ablation", "order"], rows["dropout", "first-0.2"]

    assert (order["verdict"], past["verdict"]) == ("too few networks",) * 2
    assert past["interval_over"] == "orders within one network"
    assert past["power"] == order["power"] == ""
    low, high = interval_of(past)
    assert low < float(past["ours"]) < high
    falls = [float(value) for value in order["ours"].split(", ")]
    assert falls == sorted(falls, reverse=True)


def test_noise__is_the_scale_of_the_table_of_runs(compared):
    directory, rows = compared
    runs = runs_of(directory, "memorisation", corruption=1.0)

    expected = float(runs["noise_scale_at_half"].mean())
    assert float(rows["mnist_noise", "corruption 1"]["ours"]) == pytest.approx(expected, abs=6e-4)
    falls = rows["mnist_noise", "falls"]
    ends = [runs_of(directory, "memorisation", corruption=level) for level in (0.0, 1.0)]
    assert int(falls["networks"]) == sum(of.sizes["run"] for of in ends)
    by_seed = [of.sortby("seed")["noise_scale_at_half"].values for of in ends]
    assert interval_of(falls) == pytest.approx(t_interval(by_seed[0] - by_seed[1]), abs=6e-4)
    assert falls["interval_over"] == "pairs of one seed"


def test_early_stopping__is_over_the_kept_epochs_and_the_end(compared):
    directory, rows = compared
    results = open_results(directory)
    kept = results.checkpoints.runs
    end = results.runs.sel(run=str(kept["run"].values[0]))
    auc = np.append(kept["auc"].values, end["auc"].item())
    loss = np.append(kept["test_loss"].values, end["test_loss"].item())

    correlation = float(rows["early_stopping", "correlation"]["ours"])
    assert correlation == pytest.approx(np.corrcoef(auc, loss)[0, 1], abs=6e-4)
    fall = float(rows["early_stopping", "falls"]["ours"])
    assert fall == pytest.approx(auc[-1] - auc[loss.argmin()], abs=6e-4)


@pytest.mark.parametrize("level", [0, 1])
def test_dropout__loses_what_the_curve_of_a_level_loses_at_the_fraction(compared, level):
    directory, rows = compared
    curves = open_results(directory).curves
    (run,) = runs_of(directory, "dropout", corruption=level)["run"].values
    own, lost = curves.sel(run=run), []
    for order in range(4):
        curve = own["accuracy"].sel(order=f"random-{order}").values
        kept = np.isfinite(curve)
        at = np.interp(0.2, own["ablated_fraction"].values[kept], curve[kept])
        lost.append(curve[0] - at)

    row = rows["dropout", f"flat-0.2-{level}"]
    assert float(row["ours"]) == pytest.approx(np.mean(lost), abs=6e-4)
    assert (row["networks"], row["interval_over"]) == ("1", "orders within one network")
    assert rows["dropout", f"flat-0.1-{level}"]["verdict"] == "not measured"


def test_importance__is_the_mean_rank_correlation_within_networks(compared):
    directory, rows = compared
    units = open_results(directory).units
    correlations = []
    for run in runs_of(directory, "memorisation")["run"].values:
        own = units.isel(unit=np.flatnonzero(units["run"].values == run))
        correlations.append(spearmanr(own["selectivity"], own["loss_increase"]).statistic)

    row = rows["mnist_importance", "all"]
    assert float(row["ours"]) == pytest.approx(np.mean(correlations), abs=6e-4)
    assert row["interval_over"] == "networks"
    assert rows["cifar10_importance", "layer-1"]["notes"] == "these networks have 3 layers, not 11"


def test_depth__is_correlated_with_selectivity_over_all_units_of_a_network(compared):
    directory, rows = compared
    units = open_results(directory).units
    correlations = []
    for run in runs_of(directory, "sweep")["run"].values:
        own = units.isel(unit=np.flatnonzero(units["run"].values == run))
        correlations.append(spearmanr(own["depth"], own["selectivity"]).statistic)

    row = rows["cifar10_selectivity_depth", "selectivity"]
    assert float(row["ours"]) == pytest.approx(np.mean(correlations), abs=6e-4)
    assert interval_of(row) == pytest.approx(t_interval(correlations), abs=6e-4)


def test_what_was_not_measured__says_why(compared):
    _, rows = compared

    assert rows["clamping", "mean"]["notes"] == "no curves of units clamped to mean were measured"
    assert (
        "half of 8 settings is no more than 5" in rows["hyperparameter_selection", "top-5"]["notes"]
    )


def test_selection__is_over_the_settings(compared):
    directory, rows = compared
    settings = pd.DataFrame(
        {
            name: runs_of(directory, "sweep")[name].values
            for name in ("corruption", "auc", "test_accuracy")
        }
    )
    means = settings.groupby("corruption").mean().values
    halves = list(itertools.combinations(range(8), 4))
    hits = [
        max(means[list(half), 1]) == means[half[means[list(half), 0].argmax()], 1]
        for half in halves
    ]
    row = rows["hyperparameter_selection", "top-1"]

    runs = runs_of(directory, "sweep")
    auc, train, test = (
        runs[f"{name}"].values for name in ("auc", "train_accuracy", "test_accuracy")
    )
    r, relative = np.corrcoef(auc, train)[0, 1], np.corrcoef(auc / train, test)[0, 1]
    note = rows["hyperparameter_selection", "correlation"]["notes"]
    told = f"has r = {r:.3f} with AUC, and AUC divided by this accuracy has r = {relative:.3f} with"
    assert told in note
    assert float(row["ours"]) == pytest.approx(np.mean(hits), abs=6e-4)
    assert row["interval_over"] == "settings"
    assert row["alternative"] == "0.25"  # by chance: one of the four settings of a half
    assert "its top 1 with probability 25% (in the paper 2%, of 48 settings)" in row["notes"]


def test_correlation__has_the_interval_of_a_jackknife_over_settings(compared):
    directory, rows = compared
    runs = runs_of(directory, "sweep")
    pairs = np.stack([runs["auc"].values, runs["test_accuracy"].values])
    levels = runs["corruption"].values

    def z(kept):
        return np.arctanh(np.corrcoef(pairs[:, kept])[0, 1])

    left_out = np.array([z(levels != level) for level in np.unique(levels)])
    se = np.sqrt(7 / 8 * ((left_out - left_out.mean()) ** 2).sum())
    half = t.ppf(0.975, 7) * se
    whole = z(levels >= 0)
    row = rows["hyperparameter_selection", "correlation"]

    assert float(row["ours"]) == pytest.approx(np.tanh(whole), abs=6e-4)
    assert interval_of(row) == pytest.approx(
        (np.tanh(whole - half), np.tanh(whole + half)), abs=6e-4
    )
    assert row["networks"] == "16"


def test_normalised_auc__plays_no_part(compared):
    """It divides by the largest of the table, a maximum of noisy numbers."""
    results = open_results(compared[0])
    for group, claim in (("hyperparameter_selection", "correlation"), ("regulariser", "auc-0.1")):
        own = members_of(results.runs, CLAIMS[group], "a test names")
        without = own.assign(auc_normalized=("run", np.full(own.sizes["run"], np.nan)))
        measured, again = (
            dict(evidence_function(group)(Runs(results, table)))[claim]()
            for table in (own, without)
        )
        assert repr(measured) == repr(again)


def test_measure_orders__take_the_ends_of_a_measure(compared):
    directory, rows = compared
    curves = open_results(directory).curves
    differences = []
    for run in runs_of(directory, "memorisation", corruption=1.0)["run"].values:
        area = {}
        for way in ("ascending", "descending"):
            own = curves.sel(run=run, order=f"selectivity-{way}")
            kept = np.isfinite(own["accuracy"].values)
            x, y = (own[name].values[kept] for name in ("ablated_fraction", "accuracy"))
            area[way] = np.trapezoid(y, x)
        differences.append(area["ascending"] - area["descending"])

    row = rows["mnist_measure_orders", "selectivity-1"]
    assert float(row["ours"]) == pytest.approx(np.mean(differences), abs=6e-4)
    assert interval_of(row) == pytest.approx(t_interval(differences), abs=6e-4)
    missing = rows["mnist_measure_orders", "l1_norm-0"]["notes"]
    assert missing == "no curves in the order l1_norm-descending were measured"


def test_class_damage__against_naive_loops(compared):
    directory, rows = compared
    units = open_results(directory).units.load()
    gaps, beyond, within = [], [], []
    for run in runs_of(directory, "memorisation")["run"].values:
        own = units.isel(unit=np.flatnonzero(units["run"].values == run))
        drops = own["class_accuracy_drop"].transpose("unit", "class").values
        preferred, depth = own["preferred_class"].values, own["depth"].values
        alive = [i for i in range(len(drops)) if preferred[i] >= 0]
        gaps.append(np.mean([drops[i][preferred[i]] - drops[i].mean() for i in alive]))
        harmful = [i for i in range(len(drops)) if preferred[i] >= 0 and max(drops[i]) > 0]
        hit = {i: int(np.argmax(drops[i])) == preferred[i] for i in harmful}
        chance = {}
        for i in harmful:
            layer = [j for j in harmful if depth[j] == depth[i]]
            pairs = [int(np.argmax(drops[j])) == preferred[k] for j in layer for k in layer]
            chance[i] = np.mean(pairs)
        beyond.append(np.mean(list(hit.values())) - np.mean(list(chance.values())))
        of_layers = []
        for layer in set(depth[harmful]):
            there = [i for i in harmful if depth[i] == layer]
            lost = [drops[i][preferred[i]] for i in there]
            of_layers.append(spearmanr(own["selectivity"].values[there], lost).statistic)
        within.append(np.mean(of_layers))

    for name, expected in (("single", gaps), ("own", beyond), ("selectivity", within)):
        row = rows["mnist_class_damage", name]
        assert float(row["ours"]) == pytest.approx(np.mean(expected), abs=6e-4)
        assert row["networks"] == "8"


@pytest.mark.parametrize(
    ("experiment", "group", "claim", "pair"),
    [
        (
            "memorisation",
            "mnist_measure_agreement",
            "mutual_information",
            ("selectivity", "mutual_information"),
        ),
        ("sweep", "cifar10_l1_importance", "importance", ("l1_norm", "loss_increase")),
        ("sweep", "cifar10_l1_norm", "selectivity", ("l1_norm", "selectivity")),
    ],
)
def test_correlation_within_layers__is_the_mean_over_layers_and_networks(
    compared, experiment, group, claim, pair
):
    directory, rows = compared
    units = open_results(directory).units.load()
    of_networks = []
    for run in runs_of(directory, experiment)["run"].values:
        of_layers = []
        for depth in np.unique(units["depth"].values[units["run"].values == run]):
            chosen = (units["run"].values == run) & (units["depth"].values == depth)
            own = units.isel(unit=np.flatnonzero(chosen))
            of_layers.append(spearmanr(*(own[name].values for name in pair)).statistic)
        of_networks.append(np.mean(of_layers))

    row = rows[group, claim]
    assert float(row["ours"]) == pytest.approx(np.mean(of_networks), abs=6e-4)


def test_regulariser__is_set_against_none(compared):
    directory, rows = compared
    means = {
        alpha: float(
            runs_of(directory, "regulariser", selectivity_regulariser=alpha)["test_accuracy"].mean()
        )
        for alpha in (-2.0, 0.0)
    }

    row = rows["regulariser", "test_accuracy--2"]
    assert float(row["ours"]) == pytest.approx(means[-2.0] - means[0.0], abs=6e-4)
    assert (row["verdict"], row["networks"]) == ("below 0", "6")
    by_seed = [
        runs_of(directory, "regulariser", selectivity_regulariser=alpha).sortby("seed")
        for alpha in (-2.0, 0.0)
    ]
    changes = np.subtract(*(of["test_accuracy"].values for of in by_seed))
    assert interval_of(row) == pytest.approx(t_interval(changes), abs=6e-4)
    missing = rows["regulariser", "auc-0.05"]["notes"]
    assert missing == "no network has selectivity_regulariser = 0.05"


def test_dead_units__are_remarked_where_most_units_are_dead(compared):
    directory, _ = compared
    results, table = open_results(directory), runs_of(directory, "regulariser").load()
    alpha = table["selectivity_regulariser"].values
    table["dead_units"] = (
        "run",
        np.where(alpha == 0.1, table["units"].values * 0.6, 1).astype(int),
    )
    table["dead_units"][np.flatnonzero(alpha == 0.1)[0]] = 0
    units = int(table["units"].values[0])
    for name in ("dead_units", "units"):  # -1 where no units were measured
        table[name][np.flatnonzero(alpha == -2)] = -1
    measures = dict(regulariser(Runs(results, table)))

    notes = {name: measures[f"test_accuracy-{name}"]().notes for name in ("-2", "0.1")}

    share = int(units * 0.6) / units
    told = f"dead units of 2 of 3 networks with the regulariser: {share:.0%}, {share:.0%}"
    assert notes["0.1"][-1] == told
    assert not any("dead units" in note for note in notes["-2"])


def test_layers__are_named_in_which_selective_units_are_surely_more_important(
    compared, monkeypatch
):
    directory, _ = compared
    monkeypatch.setattr(evidence_units, "CHANNELS", (8, 8, 16))
    results = open_results(directory)
    units, runs = results.units.load(), runs_of(directory, "sweep")
    own = np.isin(units["run"].values, runs["run"].values)
    last = own & (units["depth"].values == units["depth"].values[own].max())
    increase = units["loss_increase"].values.copy()
    noise = np.random.default_rng(0).normal(0, 0.1, last.sum())
    increase[last] = units["selectivity"].values[last] + noise
    results.__dict__["units"] = units.assign(loss_increase=("unit", increase))

    note = dict(cifar10_importance(Runs(results, runs)))["all"]().notes[-1]

    sides: dict[str, list[str]] = {"above": [], "below": []}
    for place, depth in enumerate(np.unique(units["depth"].values[own]), 1):
        correlations = [
            spearmanr(units["selectivity"].values[of], increase[of], nan_policy="omit").statistic
            for run in runs["run"].values
            for of in [(units["run"].values == run) & (units["depth"].values == depth)]
        ]
        low, high = t_interval(correlations)
        sides["above"] += [str(place)] if low > 0 else []
        sides["below"] += [str(place)] if high < 0 else []
    assert "3" in sides["above"]
    told = [f"{side} 0 within layers {', '.join(of)}" for side, of in sides.items() if of]
    assert note == f"surely {' and '.join(told)}"


def test_bump__has_that_without_batch_norm_beside_it(tmp_path):
    kinds = itertools.product((True, False), range(3))
    write_results(
        tmp_path, [network(("a",), seed=seed, batch_norm=flag, **CONVNET) for flag, seed in kinds]
    )
    results, runs = open_results(tmp_path), runs_of(tmp_path, "a")
    units = results.units
    without = [
        bump(units["mutual_information"].values[units["run"].values == run])
        for run in runs["run"].values[runs["batch_norm"].values == 0]
    ]

    evidence = dict(batch_norm_information(Runs(results, runs)))["bump"]()

    assert f"without batch norm: {np.mean(without):.3f} [" in evidence.notes[-1]

    with_it = runs.isel(run=np.flatnonzero(runs["batch_norm"].values == 1))
    alone = dict(batch_norm_information(Runs(results, with_it)))["bump"]()
    assert alone.estimate.value == evidence.estimate.value
    assert not any("without" in note for note in alone.notes)


def test_over_training__compares_the_first_kept_epoch_with_the_end(compared):
    directory, rows = compared
    results = open_results(directory)
    kept, last = results.checkpoints.units.load(), results.units.load()
    run = kept["run"].values[0]
    selectivity, correlation = [], []
    for units, epoch in ((kept, 1), (last, 12)):
        own = (units["run"].values == run) & (units["epoch"].values == epoch)
        layers = [
            units.isel(unit=np.flatnonzero(own & (units["depth"].values == d))) for d in (0, 1)
        ]
        selectivity.append(np.mean([layer["selectivity"].mean() for layer in layers]))
        pairs = [(layer["selectivity"], layer["loss_increase"]) for layer in layers]
        correlation.append(np.mean([spearmanr(*pair).statistic for pair in pairs]))

    of_group = {name: rows["selectivity_over_training", name] for name in ("early", "selectivity")}
    assert float(of_group["early"]["ours"]) == pytest.approx(-np.diff(correlation)[0], abs=6e-4)
    assert float(of_group["selectivity"]["ours"]) == pytest.approx(
        np.diff(selectivity)[0], abs=6e-4
    )


def test_causes__are_measured_by_the_same_claims(compared):
    directory, rows = compared
    tested = [row for row in rows_of(directory) if row["cause"]]

    # The experiment of two networks measures nothing of same_data, and has no rows.
    assert {row["cause"] for row in tested} == {"another seed", "no dropout"}
    for row in tested:
        assert "'only=[dropout]'" in row["command"]
    for row in (row for row in tested if row["group"] == "dropout"):  # the same networks
        assert row["ours"] == rows["dropout", row["claim"]]["ours"]
        assert row["moved"] in ("", "as near")
    text = (directory / "paper.md").read_text()
    table = text.split("## Suspected causes")[1].split("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + len(tested)  # one table: head, rule below it, and a line a row
    assert sum("another seed" in line for line in lines) == 1


def test_questions__have_p_values_adjusted_for_their_number(compared):
    """By Holm's definition, over all open questions of the page."""
    directory, rows = compared
    results = open_results(directory)
    raw = {}
    for group, experiments in CLAIMS.items():
        runs = Runs(results, members_of(results.runs, experiments, "a test names"))
        measured = dict(evidence_function(group)(runs))
        for claim in CLAIM_GROUPS[group].claims:
            if claim.figure == "beyond" and rows[group, claim.name]["verdict"] != "not measured":
                estimate = measured[claim.name]().estimate
                if estimate.over_networks:
                    raw[group, claim.name] = (
                        2 * t.sf(abs(estimate.value) / estimate.se, estimate.df)
                        if estimate.se
                        else 2 * 0.5**estimate.n  # a sign test
                    )
    largest = 0.0
    for rank, (question, p) in enumerate(sorted(raw.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(raw) - rank) * p))
        stated = rows[question]["p"]
        assert stated == ("< 0.001" if largest < 5e-4 else f"{largest:.3f}")
        assert (rows[question]["verdict"] == "undecided") == (largest > 0.05)
    assert len(raw) > 10
    assert sum(bool(row["p"]) for row in rows.values()) == len(raw)


def test_a_cause_alone__is_shown_where_its_group_is_not_measured(compared, tmp_path):
    directory, rows = compared
    causes = {"dropout": {"dropout": "another seed"}}

    compare_with_paper(directory, {}, tmp_path, causes=causes)

    tested = [row for row in rows_of(tmp_path) if row["cause"]]
    assert [row["ours"] for row in tested] == [
        row["ours"] for (group, _), row in rows.items() if group == "dropout" and row["ours"]
    ]
    assert {row["was"] for row in tested} == {"not measured"}
    table = (tmp_path / "paper.md").read_text().split("## Suspected causes")[1].split("\n## ")[0]
    assert "| dropout: another seed | 5a |" in table
    assert table.count("was not measured") == len(tested)


def test_times__add_up_the_jobs_of_an_experiment(compared):
    text = (compared[0] / "paper.md").read_text()

    assert "| dropout | 2 | 8 | 3.3 | 1.7 | 60% | unit ablation 30% |" in text


def test_times__of_all_count_a_network_of_two_experiments_once(tmp_path):
    both, one = network(("a", "b")), network(("b",), seed=1)
    write_results(tmp_path, [both, one])
    for name, processor in ((both.name, "NA"), (one.name, "30")):
        path = tmp_path / f"benchmarks/train/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tcpu_time\n60\t{processor}\n")

    compare_with_paper(tmp_path, {}, tmp_path)

    text = (tmp_path / "paper.md").read_text()
    assert "| a | 1 | 1 | 1.0 | 1.0 | 100% |  |" in text
    assert "| b | 2 | 2 | 2.0 | 1.5 | 100% |  |" in text
    assert "| all | 2 | 2 | 2.0 | 1.5 | 100% |  |" in text


def test_page__shows_a_picture_once(compared):
    paper, beyond = ((compared[0] / name).read_text() for name in ("paper.md", "beyond.md"))

    assert paper.count("](figures/memorisation_noise.svg)") == 1
    heading = paper[: paper.index("](figures/memorisation_noise.svg)")].rindex("### ")
    assert paper[heading:].startswith("### Conclusion 2: Memorisation and noise")
    assert beyond.count("](figures/measure_orders.svg)") == 1
    assert "measure_orders" not in paper
    assert "The figure memorisation noise stands under [Conclusion 2: " in paper


def test_pages__have_the_rows_of_their_claims(compared):
    """Each result stands on one page: the paper's on paper.md, others on beyond.md."""
    directory, rows = compared
    paper, beyond = ((directory / name).read_text() for name in ("paper.md", "beyond.md"))

    for (group, _), row in rows.items():
        own, other = (beyond, paper) if group in FOLLOW_UP_CLAIMS else (paper, beyond)
        assert f"\n## {CLAIM_GROUPS[group].title}\n" in own
        assert f"\n## {CLAIM_GROUPS[group].title}\n" not in other
        if row["ours"]:
            assert f"| {row['what']} | " in own
    assert read_json(directory / "paper.json", error=TableError, remedy="")["files"].keys() == {
        "paper.csv",
        "paper.md",
        "beyond.md",
    }


def test_page__marks_the_rows_that_could_hardly_have_failed(compared):
    directory, rows = compared
    text = (directory / "paper.md").read_text()
    tables = text.split("## The rule")[1]

    compatible = [row for row in rows.values() if row["verdict"] == "compatible"]
    assert compatible
    assert tables.count("(could hardly have failed)") == len(compatible)


def test_reduction__is_computed_from_the_specs(compared):
    _, rows = compared

    reduction = rows["mnist_ablation", "corruption 0"]["reduction"]
    assert reduction == (
        "data set mnist5k, in the paper mnist; widths 24 24, in the paper 512 512; epochs 12, in "
        "the paper 640; units ablated 48, in the paper 1,024; random orders 4, in the paper 10"
    )
    assert "networks 16, in the paper 200" in rows["same_data", "best"]["reduction"]
    assert "epochs 12, in the paper 100" in rows["cifar10_l1_norm", "selectivity"]["reduction"]


def test_all_units__are_not_those_of_some_layers(tmp_path):
    made = network(("a",), **CONVNET)
    write_networks(tmp_path, [made])
    path = tmp_path / made.name / "unit_ablation.nc"
    table = xr.load_dataset(path, engine="h5netcdf")
    write_netcdf(table.isel(unit=np.flatnonzero(table["depth"].values == 0)), path)
    tabulate(tmp_path, {made.name: ("a",)})

    compare_with_paper(tmp_path, {"imagenet_importance": ["a"]}, tmp_path)

    rows = {row["claim"]: row for row in rows_of(tmp_path) if row["group"] == "imagenet_importance"}
    assert rows["all"]["notes"] == "units of 1 of 3 layers only were ablated"
    assert rows["all"]["verdict"] == rows["early"]["verdict"] == "not measured"
    assert rows["first"]["units"] == "8"


def test_reduction__says_which_split_was_scored(tmp_path):
    made = network(("a",))
    write_results(tmp_path, [made])
    record = tmp_path / "datasets" / dataset_name(made.spec.dataset) / "dataset.json"
    record.parent.mkdir(parents=True)
    sizes = {"train": {"samples": 5000}, "test": {"samples": 1000}}
    write_json(record, {"splits": sizes})
    path = tmp_path / made.name / "unit_ablation.nc"
    table = xr.load_dataset(path, engine="h5netcdf").assign_attrs(samples=100, split="test")
    write_netcdf(table, path)

    compare_with_paper(tmp_path, {"mnist_importance": ["a"]}, tmp_path)

    row = next(row for row in rows_of(tmp_path) if row["group"] == "mnist_importance")
    assert "measured on 100 of 1,000 test samples" in row["reduction"]
    assert "training samples 5,000, in the paper 60,000" in row["reduction"]


def test_reduction__says_on_how_many_samples(tmp_path):
    made = network(("a",), dataset="mnist")
    write_results(tmp_path, [made])
    path = tmp_path / made.name / "checkpoint.json"
    record = read_json(path, error=TableError, remedy="")
    record["spec"]["dataset"]["train_samples"] = 10_000
    write_json(path, record)
    curve = tmp_path / made.name / "cumulative_ablation.nc"
    table = xr.load_dataset(curve, engine="h5netcdf").assign_attrs(samples=500)
    write_netcdf(table, curve)

    compare_with_paper(tmp_path, {"mnist_ablation": ["a"]}, tmp_path)

    with (tmp_path / "paper.csv").open(newline="") as file:
        reduction = next(csv.DictReader(file))["reduction"]
    assert "training samples 10,000, in the paper 60,000" in reduction
    assert "measured on 500 of 10,000 training samples" in reduction
    assert "data set" not in reduction


def test_page__has_rule_rows_pictures_and_commands(compared):
    directory, rows = compared
    text = (directory / "paper.md").read_text()

    assert "* **Numbers.** A number **differs** where the 95 % interval of that difference" in text
    row = rows["mnist_noise", "corruption 1"]
    assert f"{row['ours']} [{row['low']},\N{NO-BREAK SPACE}{row['high']}]" in text
    assert "![memorisation noise](figures/memorisation_noise.svg)" in text
    assert "memorisation_ablation.svg" not in text
    assert "dropout_ablation.svg" not in text  # it draws another experiment
    assert text.count("snakemake --configfile x.yaml --config results=again") == 1  # for all rows
    command = "snakemake --configfile x.yaml --config results=again 'only=[sweep]'"
    assert rows["same_data", "best"]["command"] == command
    assert rows["same_data", "best"]["seeds"] == "3 4"


def test_same_results__give_the_same_files(compared, tmp_path):
    directory, _ = compared

    compare_with_paper(
        directory, CLAIMS, tmp_path, causes=CAUSES, command="snakemake --configfile x.yaml"
    )

    assert (tmp_path / "paper.csv").read_bytes() == (directory / "paper.csv").read_bytes()


def test_unknown_names__are_refused(compared, tmp_path):
    directory, _ = compared

    with pytest.raises(TableError, match="no results called 'same_date'; did you mean 'same_data'"):
        compare_with_paper(directory, {"same_date": ["sweep"]}, tmp_path)
    with pytest.raises(TableError, match="experiment 'sweeps', which the results lack"):
        compare_with_paper(directory, {"same_data": ["sweeps"]}, tmp_path)
    with pytest.raises(TableError, match="experiment 'sweeps', which the results lack"):
        compare_with_paper(directory, {}, tmp_path, causes={"same_data": {"sweeps": "a"}})


def test_damaged_table__is_refused_and_no_reason_for_a_missing_result(compared, tmp_path):
    directory, _ = compared
    shutil.copytree(directory, tmp_path / "results")
    values = tmp_path / "results/curves.zarr/accuracy/c"
    shard = next(file for file in values.rglob("*") if file.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)

    with pytest.raises(TableError, match=r"curves.zarr/accuracy/c/\S+ is damaged: .*joined anew"):
        compare_with_paper(tmp_path / "results", CLAIMS, tmp_path)

    assert not (tmp_path / "paper.md").exists()


def test_clamping__compares_order_by_order(tmp_path):
    """Curves of both values, told apart by coordinates of the orders."""
    write_results(
        tmp_path,
        [
            network(("a",), seed=seed, corruption=corruption, **MLP)
            for corruption in (0.0, 0.5)
            for seed in range(3)
        ],
    )
    results = open_results(tmp_path)
    runs = Runs(results, results.runs)
    curves = results.curves.isel(order=slice(0, 4)).load()
    less = 0.1 + 0.2 * (results.runs.sel(run=curves["run"])["corruption"] > 0)
    lower = curves.assign(accuracy=curves["accuracy"] - less * (curves["ablated"] > 0))
    lower = lower.assign_coords(order=[f"mean-random-{i}" for i in range(4)])
    both = xr.concat([curves, lower], "order", data_vars="minimal", coords="minimal")
    values = np.repeat(["zero", "mean"], 4).astype(object)
    results.__dict__["curves"] = both.assign_coords(
        value=("order", values), basis=("order", np.full(8, "units", object))
    )

    ((_, measure),) = clamping(runs)
    evidence = measure()
    value = evidence.estimate.value

    # .1 or .3 less at every point but the first of eleven: the first step loses half of it.
    widths = np.diff(curves["ablated_fraction"].values[0])
    whole = widths.sum() - widths[0] / 2
    assert value == pytest.approx(-0.2 * whole)
    assert (evidence.networks, evidence.orders) == (6, 4)
    clean, corrupted = (f"{-part * whole:.3f}" for part in (0.1, 0.3))
    assert evidence.notes[-1] == (
        f"by setting: corruption 0 {clean} [{clean}, {clean}], "
        f"corruption 0.5 {corrupted} [{corrupted}, {corrupted}]"
    )

    none = xr.where((both["order"].str.startswith("mean")) & (less > 0.2), np.nan, both["accuracy"])
    partly = both.assign(accuracy=none.transpose(*both["accuracy"].dims))
    results.__dict__["curves"] = results.curves.assign(accuracy=partly["accuracy"])
    of_some = measure()
    assert of_some.networks == 3
    assert of_some.estimate.value == pytest.approx(-0.1 * whole)
    assert not any("by setting" in note for note in of_some.notes)


def test_fraction_at_half__is_linear_between_points_of_the_mean_curve():
    x = [0.0, 0.25, 0.5, 1.0]
    rows = np.array([[*zip(x, y, strict=True)] for y in ([1, 0.9, 0.2, 0.1], [1, 0.7, 0.4, 0.1])])

    # The mean falls from .8 to .3 between .25 and .5: .5 is three fifths of the way.
    assert fraction_at_half(rows) == pytest.approx(0.25 + 0.25 * 0.6)


def test_distributions__by_hand():
    values = np.array([0.01, 0.11, 0.12, 0.14, 0.31, 0.55, 0.58])

    assert mode(values, 0.05) == pytest.approx(0.125)
    assert bump(values) == pytest.approx(2 / 7 - 0.5 / 7)


def test_within_layers__averages_layers_whose_correlation_is_defined():
    rows = (
        [(i, i, 0) for i in range(5)]
        + [(i, -i, 1) for i in range(5)]
        + [(1, i, 2) for i in range(5)]
    )
    rows += [(i, i, 3) for i in range(2)]

    assert correlation_within_layers(np.array(rows, float)) == pytest.approx(0)
    assert correlation_within_layers(np.array(rows[:5], float)) == pytest.approx(1)


def test_command__takes_protocol_and_earlier_tables(compared, tmp_path):
    directory, rows = compared
    earlier = tmp_path / "first.csv"
    with earlier.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows["mnist_noise", "falls"])
        writer.writeheader()
        writer.writerow(rows["mnist_noise", "falls"] | {"verdict": "differs", "networks": "12"})
    wanted = ["--claims", '{"mnist_noise": ["memorisation"]}', "--protocol", "abc123"]
    output = str(tmp_path / "paper.csv")

    words = ["compare-with-paper", str(directory), output, *wanted, "--earlier", str(earlier)]
    done = CliRunner().invoke(app, words)

    assert done.exit_code == 0, done.output
    text = (tmp_path / "paper.md").read_text()
    assert "hash\n`abc123`" in text
    appendix = text.split("## Appendix: earlier verdicts")[1]
    assert "| networks 6, before 12 |" in appendix
    assert read_json(tmp_path / "paper.json", error=TableError, remedy="")["protocol"] == "abc123"
    assert "Appendix" not in (directory / "paper.md").read_text()
