"""The lines that say what the classes of a unit's page are."""

import numpy as np
import pytest
import xarray as xr

import unitlens as ul
from synthetic_results import network, write_results
from unitlens.explorer.class_words import activation_classes, damage_classes, sample_classes
from unitlens.explorer.unit_source import UnitSource, source_of_run


def column(labels, true_labels=None):
    coords = {"label": ("sample", labels)}
    if true_labels is not None:
        coords["true_label"] = ("sample", true_labels)
    return xr.DataArray(np.zeros(len(labels)), dims="sample", coords=coords)


@pytest.mark.parametrize(
    ("labels", "true_labels", "told"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], "4 samples of test, by their true labels."),
        ([0, 1, 2, 3], None, "4 samples of test, by their labels."),
        ([1, 0, 0, 3], [0, 1, 2, 3], "by the labels that the network was trained on; 75% of these"),
    ],
)
def test_activations__say_whose_labels_the_classes_are(labels, true_labels, told):
    assert told in activation_classes(UnitSource(split="test"), column(labels, true_labels))


def test_samples__say_which_label_stands_under_them():
    assert sample_classes(column([0, 1], [0, 1])) == "The class is the true label."
    assert sample_classes(column([0, 1])) == "The class is the label."
    assert "the true one follows where it differs" in sample_classes(column([0, 1], [1, 1]))
    assert sample_classes(None) == sample_classes(column([0]).drop_vars("label")) == ""


def test_source__of_a_run_knows_its_permuted_labels(tmp_path):
    networks = [network(("a",), corruption=share) for share in (0.0, 0.5, 1.0)]
    results = ul.open_results(write_results(tmp_path / "results", networks))

    shares = [source_of_run(results, made.name).corruption for made in networks]
    assert shares == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("corruption", "split", "memorised"),
    [(1.0, "train", True), (0.0, "train", False), (0.5, "test", False)],
)
def test_damage__says_samples_split_and_that_labels_were_permuted(corruption, split, memorised):
    stated = {"unit_ablation_samples": 2000, "unit_ablation_split": split}
    units = xr.Dataset(attrs={**stated, "unit_ablation_value": "zero"})
    line = damage_classes(UnitSource(split="test", corruption=corruption), units)

    assert line.startswith(f"Damage: 2000 samples of {split} over which the unit was ablated")
    assert "(clamped to zero)" in line
    assert ("the images of one class, and damage another" in line) == memorised
    assert ("100 % of which were permuted" in line) == memorised
    assert ("by their labels." in line) != memorised


def test_damage__of_a_table_that_states_nothing_has_a_line():
    line = damage_classes(UnitSource(), xr.Dataset())

    assert line == "Damage: the samples over which the unit was ablated, by their labels."
