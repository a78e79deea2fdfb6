"""What the units of a network do on one sample, against numpy."""

import numpy as np
import pytest
import torch
from torch import nn

import unitlens as ul
from unitlens.errors import ArgumentError
from unitlens.explorer.given_source import source_of_activations
from unitlens.explorer.sample_facts import sample_label, sample_responses, strongest_units
from unitlens.explorer.unit_source import UnitSource

SAMPLES, SHOWN = 40, 7


class Rows:
    """Rows of numbers with one of three labels."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.rows = torch.from_numpy(rng.normal(size=(SAMPLES, 5))).float()
        self.labels = rng.integers(0, 3, SAMPLES)

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        return self.rows[index], int(self.labels[index])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 3))
    path = tmp_path_factory.mktemp("sample") / "acts.zarr"
    ul.record_activations(model, Rows(), path)
    return ul.open_activations(path)


def test_sample_responses__are_the_rows_of_the_store_and_deviations_from_the_class(recorded):
    statistics = ul.class_statistics(recorded)
    found = sample_responses(source_of_activations(recorded), SHOWN, statistics)

    labels = recorded["label"].values
    of_class = np.flatnonzero(labels == labels[SHOWN])
    for layer in ("1", "3"):
        values = recorded[layer]["activation"].values.astype(np.float64)
        own = found.isel(unit=np.flatnonzero(found["layer"].values == layer))
        np.testing.assert_array_equal(own["activation"], values[SHOWN])
        mean, deviation = values[of_class].mean(0), values[of_class].std(0)
        np.testing.assert_allclose(own["class_mean"], mean, rtol=1e-6, atol=1e-9)
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = np.where(deviation > 1e-9, (values[SHOWN] - mean) / deviation, np.nan)
        np.testing.assert_allclose(own["deviation"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("with_classes", [True, False])
def test_strongest_units__are_the_largest_first(recorded, with_classes):
    statistics = ul.class_statistics(recorded) if with_classes else None
    found = sample_responses(source_of_activations(recorded), SHOWN, statistics)
    strongest = strongest_units(found, "3", 4)

    by = "deviation" if with_classes else "activation"
    assert ("deviation" in found) == with_classes
    own = found.isel(unit=np.flatnonzero(found["layer"].values == "3"))
    order = np.argsort(-own[by].values)[:4]
    assert strongest["channel"].values.tolist() == own["channel"].values[order].tolist()


def test_sample_label__is_that_of_the_data_set(recorded):
    assert sample_label(source_of_activations(recorded), SHOWN) == Rows().labels[SHOWN]
    assert sample_label(UnitSource(), 0) is None


@pytest.mark.parametrize("sample", [-1, SAMPLES])
def test_sample_responses__of_no_such_sample_are_refused(recorded, sample):
    with pytest.raises(ArgumentError, match="take one from 0 to 39"):
        sample_responses(source_of_activations(recorded), sample)


def test_sample_responses__without_a_store_are_refused():
    with pytest.raises(ArgumentError, match="there are no activations"):
        sample_responses(UnitSource(), 0)
