"""How training ends with more dropout, on made-up histories."""

import numpy as np
import pytest
from scipy.stats import sem, t

from synthetic_results import MLP, network, write_results
from unitlens.reproduction.evidence_dropout import dropout, dropout_training
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.tables.results import open_results

SHARES, SEEDS = (0.1, 0.2, 0.3), (1, 2, 3)
# Epoch at which the train accuracy of a dropout fraction reaches .99, by seed; of 12 epochs.
REACHED = {0.1: (3, 4, 5), 0.2: (9, 9, 9), 0.3: (8, 9, 7)}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dropout")
    networks = [
        network(("a",), corruption=level, seed=seed, **MLP, dropout=share)
        for level in (0.0, 1.0)
        for share in SHARES
        for seed in SEEDS
    ]
    without = ("unit_measures", "unit_ablation", "noise_robustness", "cumulative_ablation")
    return write_results(directory, networks, without=without)


def opened(directory, reached):
    """Return runs whose train accuracy is .5 up to an epoch, and .995 from it on."""
    results = open_results(directory)
    runs, history = results.runs.load(), results.history.load()
    train = np.full(history["train_accuracy"].shape, 0.5)
    for row, run in enumerate(history["run"].values):
        spec = runs.isel(run=int(np.flatnonzero(runs["run"].values == run)[0]))
        epoch = reached[round(float(spec["dropout"]), 1)][int(spec["seed"]) - 1]
        train[row, history["epoch"].values >= epoch] = 0.995
    history["train_accuracy"] = (("run", "epoch"), train)
    results.__dict__["history"] = history
    return Runs(results, runs)


def test_later__is_the_difference_of_the_epochs_by_seed(results):
    runs = opened(results, REACHED)
    changes = np.array([5, 5, 2])

    for measured in (dict(dropout(runs)), dict(dropout_training(runs))):
        evidence = measured["later"]()
        assert evidence.estimate.value == pytest.approx(changes.mean())
        assert evidence.estimate.interval() == pytest.approx(
            t.interval(0.95, 2, changes.mean(), sem(changes))
        )
        assert evidence.networks == 6
        assert "dropout 0.3 minus dropout 0.1" in evidence.notes


def test_later__is_a_lower_bound_where_a_network_of_most_dropout_has_not_memorised(results):
    runs = opened(results, REACHED | {0.3: (8, 99, 7)})

    evidence = dict(dropout(runs))["later"]()

    assert evidence.estimate.value == pytest.approx(np.mean([5, 8, 2]))  # epoch 12 is the last
    assert any("a lower bound: 1 networks" in note for note in evidence.notes)


def test_later__is_not_measured_where_a_network_of_least_dropout_has_not_memorised(results):
    runs = opened(results, REACHED | {0.1: (99, 99, 5)})

    with pytest.raises(NotMeasuredError, match="2 networks of the least dropout fraction do not"):
        dict(dropout(runs))["later"]()


@pytest.mark.parametrize(
    ("function", "claim", "level", "score"),
    [
        (dropout, "worse", 1.0, "train_accuracy"),
        (dropout_training, "test_accuracy", 0.0, "test_accuracy"),
    ],
)
def test_end_of_training__is_compared_by_seed(results, function, claim, level, score):
    runs = opened(results, REACHED)
    table = runs.table
    ends = []
    for share in (0.3, 0.1):
        chosen = (table["corruption"].values == level) & np.isclose(table["dropout"].values, share)
        own = table.isel(run=np.flatnonzero(chosen)).sortby("seed")
        ends.append(own[score].values)
    changes = ends[0] - ends[1]

    estimate = dict(function(runs))[claim]().estimate

    assert estimate.value == pytest.approx(changes.mean(), abs=1e-12)
    if changes.std() > 1e-9:
        expected = t.interval(0.95, 2, changes.mean(), sem(changes))
        assert estimate.interval() == pytest.approx(expected)


def test_stopped_trainings__are_told(results):
    runs = opened(results, REACHED)
    stopped = runs.table["epoch"].values.copy()
    stopped[runs.table["corruption"].values == 1] = 5
    table = runs.table.assign_coords(epoch=("run", stopped))

    evidence = dict(dropout(Runs(runs.results, table)))["worse"]()

    note = "6 of 6 trainings were stopped at a train accuracy, which is then theirs at the end"
    assert note in evidence.notes
    assert not any("stopped" in note for note in dict(dropout(runs))["worse"]().notes)


def test_one_fraction__has_no_ends(results):
    runs = opened(results, REACHED).select_equal("dropout", 0.2)

    with pytest.raises(NotMeasuredError, match=r"several dropout fractions, but there is 0\.2"):
        dict(dropout(runs))["later"]()
