"""Suspected causes: networks are compared with those of the same seed and level."""

import csv
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from scipy.stats import sem, t

from synthetic_results import MLP, network, provenance_of, weights_hash, write_networks
from unitlens.analysis.run_groups import members_of
from unitlens.errors import TableError
from unitlens.hashed_files import read_json, write_json
from unitlens.reproduction.causes import BaseNetwork, effect_of_cause, pair_networks
from unitlens.reproduction.claim_types import (
    Alternative,
    Claim,
    ReportedNumber,
    ReportedOrder,
    ReportedSign,
)
from unitlens.reproduction.compare import compare_with_paper
from unitlens.reproduction.estimates import Estimate, NetworkValue
from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.experiment_runs import Runs
from unitlens.reproduction.network_means import difference, estimate_mean
from unitlens.store.backend.netcdf import write_netcdf
from unitlens.tables.results import open_results
from unitlens.tables.tabulate import tabulate

NUMBER = Claim("a", "1", "a", ReportedNumber(0.8), "F", Alternative("far", (9.0,)))
SIGN = Claim("a", "1", "a", ReportedSign(-1, "falls"))
BASE = [0.4, 0.5, 0.6, 0.5]
SLOW = {"learning_rate": 0.05}
EXPERIMENTS = {
    # Three seeds at two levels, and a fourth seed that the changed experiments lack.
    "base": [
        network(("base",), corruption=level, seed=seed, **MLP)
        for level in (0.0, 1.0)
        for seed in (0, 1, 2, 3)
    ],
    "slow": [
        network(("slow",), corruption=level, seed=seed, training=SLOW, **MLP)
        for level in (0.0, 1.0)
        for seed in (0, 1, 2)
    ],
    "two": [
        network(("two",), seed=seed, training={"learning_rate": 0.02}, **MLP) for seed in (0, 1)
    ],
}


def evidence(values, first="n"):
    networks = [NetworkValue(f"{first}{seed}", seed, value) for seed, value in enumerate(values)]
    return Evidence(estimate_mean(networks), networks=len(values))


def paired(count, *, same=()):
    """Return pairs of the networks c0, c1, ... of a cause with the main networks n0, n1, ..."""
    return {f"c{i}": BaseNetwork(f"n{i}", i in same) for i in range(count)}


@pytest.mark.parametrize(
    ("changes", "movement", "sure"),
    [
        ([0.10, 0.11, 0.12, 0.11], "nearer", True),
        ([-0.10, -0.11, -0.12, -0.11], "farther", True),
        ([0.30, -0.10, 0.20, -0.05], "nearer", False),
        ([0.0, 1e-4, -1e-4, 0.0], "as near", False),
        ([0.90, 0.91, 0.92, 0.91], "farther", True),  # past the paper's value
        ([0.50, 0.61, 0.70, 0.55], "nearer", False),  # or nearly as far past it
    ],
)
def test_movement__is_sure_where_the_paired_interval_is_on_one_side(changes, movement, sure):
    """Networks scatter by .08, so that the intervals of the two experiments overlap."""
    after = [value + change for value, change in zip(BASE, changes, strict=True)]

    effect = effect_of_cause(NUMBER, evidence(BASE), evidence(after, "c"), paired(4))

    low, high = t.interval(0.95, 3, np.mean(changes), sem(changes))
    far = [abs(0.5 + change - 0.8) - 0.01 for change in np.linspace(low, high, 1001)]
    surely = max(far) < 0.29 or min(far) > 0.29
    assert (effect.movement, effect.sure) == (movement, sure)
    assert surely == sure
    assert (effect.before, effect.pairs) == (pytest.approx(0.5), 4)


def test_movement__of_two_pairs_is_never_sure():
    after = evidence([0.6, 0.7, 0.8, 0.7], "c")

    effect = effect_of_cause(NUMBER, evidence(BASE), after, paired(2))

    assert (effect.movement, effect.sure, effect.pairs) == ("nearer", False, 2)
    assert effect.before == pytest.approx(0.45)  # of the pairs alone


def test_movement__leaves_out_networks_that_are_the_very_same():
    """Of equal weights and equal number; with other numbers the measurement is what changed."""
    after = evidence([0.4, 0.6, 0.7, 0.6], "c")

    effect = effect_of_cause(NUMBER, evidence(BASE), after, paired(4, same=(0, 1)))

    assert (effect.movement, effect.pairs) == ("nearer", 3)
    assert effect.before == pytest.approx(np.mean(BASE[1:]))
    assert effect.note.startswith("1 network is the very same as without the change")
    unchanged = effect_of_cause(
        NUMBER, evidence(BASE), evidence(BASE, "c"), paired(4, same=range(4))
    )
    assert (unchanged.movement, unchanged.before, unchanged.pairs) == (None, None, 0)
    assert unchanged.note.startswith("4 networks are the very same")


def test_movement__without_pairs_is_of_all_networks():
    effect = effect_of_cause(NUMBER, evidence(BASE), evidence([0.6, 0.62, 0.64], "c"), {})

    assert (effect.movement, effect.sure, effect.pairs) == ("nearer", False, 0)
    assert effect.before == pytest.approx(0.5)


def test_cause__may_change_a_verdict():
    nothing = Evidence(missing="not measured")
    undecided, below, lower = (
        Evidence(Estimate(value, 0.05, 9, 10, "networks")) for value in (-0.05, -0.2, -0.3)
    )

    assert effect_of_cause(SIGN, undecided, below, {}).before == "undecided"
    assert effect_of_cause(SIGN, lower, below, {}).before is None
    assert effect_of_cause(SIGN, nothing, below, {}).before == "not measured"
    assert effect_of_cause(SIGN, below, nothing, {}) == (None, False, None, 0, "")
    assert effect_of_cause(NUMBER, nothing, evidence(BASE), {}).before == "not measured"


def test_cause__is_not_judged_by_an_order_of_other_levels():
    claim = Claim("a", "1", "a", ReportedOrder((0.9, 0.5)), "F", Alternative("a rise"))

    def order(*levels):
        values = [[level - 0.01, level, level + 0.02 * level] for level in levels]
        steps = (
            difference(evidence(b).estimate, evidence(a).estimate) for a, b in pairwise(values)
        )
        return Evidence(levels=levels, steps=tuple(steps))

    assert effect_of_cause(claim, order(0.9, 0.8, 0.85), order(0.9, 0.5), {}).before is None
    assert effect_of_cause(claim, order(0.5, 0.9), order(0.9, 0.5), {}).before == "differs"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return results in which one network of the cause has the very weights of the main one."""
    directory = tmp_path_factory.mktemp("causes")
    networks = [made for of in EXPERIMENTS.values() for made in of]
    names = write_networks(directory, networks)[0]
    same, twin = EXPERIMENTS["base"][4], EXPERIMENTS["slow"][3]  # seed 0 at corruption 1
    curves = xr.load_dataset(directory / same.name / "cumulative_ablation.nc", engine="h5netcdf")
    path = directory / twin.name / "cumulative_ablation.nc"
    write_netcdf(curves, path, provenance=provenance_of(twin.name, "cumulative_ablation"))
    tabulate(directory, names)
    path = directory / twin.name / "checkpoint.json"
    record = read_json(path, error=TableError, remedy="")
    write_json(path, record | {"weights_hash": weights_hash(same.name)})
    return open_results(directory)


def runs_of(results, experiment):
    return Runs(results, members_of(results.runs, [experiment], "a test names"))


def test_pairs__have_the_same_seed_and_level(results):
    pairs = pair_networks(runs_of(results, "base"), runs_of(results, "slow"))

    expected = {
        slow.name: base.name
        for slow in EXPERIMENTS["slow"]
        for base in EXPERIMENTS["base"]
        if slow.spec.seed == base.spec.seed
        and slow.spec.dataset.corruption == base.spec.dataset.corruption
    }
    assert {run: base.run for run, base in pairs.items()} == expected
    assert len(expected) == 6
    twins = [run for run, base in pairs.items() if base.same_weights]
    assert twins == [EXPERIMENTS["slow"][3].name]


def test_pairs__of_one_network_with_several_are_left_out(results):
    """In both levels together, a seed alone does not name a network."""
    runs = runs_of(results, "base")
    alike = runs.table.assign(corruption=("run", np.zeros(runs.table.sizes["run"])))

    assert pair_networks(Runs(results, alike), runs_of(results, "two")) == {}


def test_page__tells_the_movement_of_the_pairs(results, tmp_path):
    causes = {"mnist_ablation": {"slow": "learning rate", "two": "a lower rate"}}

    compare_with_paper(results.directory, {"mnist_ablation": ["base"]}, tmp_path, causes=causes)

    with (tmp_path / "paper.csv").open(newline="") as file:
        rows = {
            (row["cause"], row["claim"]): row
            for row in csv.DictReader(file)
            if row["group"] == "mnist_ablation"
        }
    auc = dict(zip(results.runs["run"].values, results.runs["auc"].values, strict=True))
    clean = [[auc[made.name] for made in EXPERIMENTS[name][:3]] for name in ("base", "slow")]
    row = rows["learning rate", "corruption 0"]
    assert float(row["was"]) == pytest.approx(np.mean(clean[0]), abs=6e-4)
    assert float(row["ours"]) == pytest.approx(np.mean(clean[1]), abs=6e-4)
    assert row["pairs"] == "3"
    assert row["moved"].endswith("farther")  # a wrong rate makes the made-up networks less robust
    corrupted = rows["learning rate", "corruption 1"]
    assert corrupted["pairs"] == "2"
    assert "1 network is the very same as without the change" in corrupted["notes"]
    assert not corrupted["moved"].startswith("surely")
    few = rows["a lower rate", "corruption 0"]
    assert (few["verdict"], few["pairs"]) == ("too few networks", "2")
    text = (tmp_path / "paper.md").read_text()
    assert f"{row['ours']} [{row['low']},\N{NO-BREAK SPACE}{row['high']}]" in text
    line = next(line for line in text.splitlines() if "| slow: learning rate | 1a |" in line)
    assert f"| {row['was']} | " in line
    assert line.endswith(f"| {row['moved']} (3 pairs), {row['verdict']} |")
    assert "not measured with this change: corruption 0.2, corruption 0.4" in text
