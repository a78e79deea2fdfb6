"""The epoch of the largest AUC beside that of the least test loss."""

import numpy as np
import pytest
from scipy.stats import t

from synthetic_results import MLP, network, write_results
from unitlens.reproduction.evidence_training import largest_auc
from unitlens.reproduction.experiment_runs import Runs
from unitlens.tables.results import open_results

EPOCHS = (0.5, 1, 2, 4, 8, 12)  # 12 is the end of the training
# For each network the places of the largest AUC and of the least test loss among them.
PLACES = ((1, 3), (2, 3), (1, 2))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    networks = [network(("a",), seed=seed, kept=EPOCHS[:-1], **MLP) for seed in (1, 2, 3)]
    without = ("unit_measures", "unit_ablation", "noise_robustness")
    return write_results(tmp_path_factory.mktemp("course"), networks, without=without)


def runs_with(directory, places):
    """Return runs whose curves and test losses have their extremes at some places."""
    results = open_results(directory)
    names = results.runs["run"].values.tolist()
    for own in (results, results.checkpoints):
        table, curves = own.runs.load(), own.curves.load()
        for rows, column in ((table, "test_loss"), (curves, "accuracy")):
            epochs = rows["epoch"].values
            for row, run in enumerate(rows["run"].values):
                peak, least = places[names.index(str(run))]
                at = EPOCHS.index(float(epochs[row]))
                if column == "test_loss":
                    rows[column].values[row] = 1 + abs(at - least)
                else:
                    known = np.isfinite(rows[column].values[row])
                    rows[column].values[row][known] = 0.9 - 0.1 * abs(at - peak)
        own.__dict__.update(runs=table, curves=curves)
    return Runs(results, results.runs)


def test_difference__is_in_epochs_with_the_spacing_of_the_kept_epochs(directory):
    """By hand: -3 (1 and 4), -2 (2 and 4) and -1 (1 and 2); what is nearest to each is a cell."""
    evidence = dict(largest_auc(runs_with(directory, PLACES)))["epochs"]()

    differences = np.array([1 - 4, 2 - 4, 1 - 2])
    cells = {1: 1.5 - 0.75, 2: 3 - 1.5, 4: 6 - 3}  # width of the epochs nearest to a kept one
    squares = [cells[1] ** 2 + cells[4] ** 2, cells[2] ** 2 + cells[4] ** 2]
    squares.append(cells[1] ** 2 + cells[2] ** 2)
    se = np.sqrt(differences.var(ddof=1) / 3 + np.mean(squares) / 12)
    half = t.ppf(0.975, 2) * se
    assert evidence.estimate.value == pytest.approx(-2)
    assert evidence.estimate.interval() == pytest.approx((-2 - half, -2 + half))
    assert evidence.notes[-1] == ("AUC is largest at epoch 1 to 2, test loss least at epoch 2 to 4")


def test_losses_that_do_not_part__are_told(directory):
    runs = runs_with(directory, ((1, 5), (5, 5), (5, 2)))

    notes = dict(largest_auc(runs))["epochs"]().notes

    assert "in 2 of 3 networks test loss is least at the end of training" in notes[-1]


def test_same_epoch__is_a_difference_of_zero(directory):
    evidence = dict(largest_auc(runs_with(directory, ((3, 3), (2, 2), (4, 4)))))["epochs"]()

    assert evidence.estimate.value == 0
    assert evidence.estimate.side() == 0
