"""Agreement of measures and of classes, against plain loops over units and layers."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from unitlens.analysis.measure_agreement import (
    class_agreement,
    layer_means,
    measure_agreement,
    preferred_class_drop,
)

CLASSES = 4


def units_of_layers(sizes, seed=0, epoch=5):
    """Return made-up units of two networks with the same layers."""
    rng = np.random.default_rng(seed)
    layers = [(run, depth) for run in ("a", "b") for depth in range(len(sizes))]
    runs = np.array([run for run, depth in layers for _ in range(sizes[depth])], object)
    depths = np.array([depth for _, depth in layers for _ in range(sizes[depth])])
    channels = np.array([i for _, depth in layers for i in range(sizes[depth])])
    size = runs.size
    selectivity = rng.random(size)
    drop = rng.choice([-0.01, 0.0, 0.02, 0.05], (size, CLASSES))
    columns = {
        "selectivity": selectivity,
        "roc_auc": selectivity + rng.normal(0, 0.2, size),
        "mutual_information": rng.random(size),
        "loss_increase": rng.normal(0, 1, size),
        "preferred_class": rng.integers(-1, CLASSES, size),
        "most_damaged_class": drop.argmax(1),
        "class_accuracy_drop_max": drop.max(1),
        "run": runs,
        "epoch": np.full(size, epoch),
        "depth": depths,
        "layer": np.array([f"relu{depth}" for depth in depths], object),
        "channel": channels,
    }
    table = xr.Dataset({name: ("unit", values) for name, values in columns.items()})
    table["class_accuracy_drop"] = (("unit", "class"), drop)
    return table.set_coords(["run", "epoch", "depth", "layer", "channel"])


def layers_of(units):
    for run in ("a", "b"):
        for depth in sorted(set(units.depth.values.tolist())):
            own = (units.run.values == run) & (units.depth.values == depth)
            yield run, depth, units.isel(unit=np.flatnonzero(own))


def test_measure_agreement__is_the_mean_over_layers_of_ten_units():
    units = units_of_layers((30, 9, 12))
    units["mutual_information"][:3] = np.nan

    matrix = measure_agreement(units)

    assert matrix["measure"].values.tolist() == ["selectivity", "roc_auc", "mutual_information"]
    assert matrix.attrs["layers"] == 4  # of nine units: too few
    for one, other in [("selectivity", "roc_auc"), ("mutual_information", "roc_auc")]:
        expected = [
            spearmanr(layer[one], layer[other], nan_policy="omit").statistic
            for _, depth, layer in layers_of(units)
            if depth != 1
        ]
        assert float(matrix.sel(measure=one, other=other)) == pytest.approx(np.mean(expected))
        assert float(matrix.sel(measure=other, other=one)) == pytest.approx(np.mean(expected))
    assert np.diag(matrix).tolist() == [1, 1, 1]


def test_measure_agreement__is_undefined_without_wide_layers():
    matrix = measure_agreement(units_of_layers((9, 4)), measures=("selectivity", "roc_auc"))

    assert np.isnan(matrix.sel(measure="selectivity", other="roc_auc"))
    assert matrix.attrs["layers"] == 0


def test_class_agreement__counts_units_that_do_harm_and_pairs_within_layers():
    units = units_of_layers((20, 15))

    agreement = class_agreement(units)

    hits, chances = [], []
    for _, _, layer in layers_of(units):
        pairs = [
            (int(unit.preferred_class), int(unit.most_damaged_class))
            for unit in (layer.isel(unit=place) for place in range(layer.sizes["unit"]))
            if unit.preferred_class >= 0 and unit.class_accuracy_drop_max > 0
        ]
        hits += [preferred == damaged for preferred, damaged in pairs]
        shuffled = [preferred == damaged for preferred, _ in pairs for _, damaged in pairs]
        chances += [np.mean(shuffled)] * len(pairs)
    assert agreement.units == len(hits)
    assert agreement.share == pytest.approx(np.mean(hits))
    assert agreement.chance == pytest.approx(np.mean(chances))


def test_class_agreement__of_units_that_do_no_harm():
    units = units_of_layers((20,))
    units["class_accuracy_drop_max"][:] = 0

    agreement = class_agreement(units)

    assert agreement.units == 0
    assert np.isnan(agreement.share)


def test_preferred_class_drop__is_that_of_the_units_own_class():
    units = units_of_layers((20,))

    drop = preferred_class_drop(units)

    for place in range(units.sizes["unit"]):
        preferred = int(units.preferred_class[place])
        own = units.class_accuracy_drop.values[place, preferred] if preferred >= 0 else np.nan
        np.testing.assert_equal(drop[place], own)


def test_layer_means__has_each_epoch_once_and_the_units_of_each_layer():
    first, last = units_of_layers((12, 5), seed=1, epoch=0), units_of_layers((12, 5), seed=2)

    layers = layer_means([first, last, last.isel(unit=slice(None, None, -1))])

    assert layers.sizes["row"] == 8
    for epoch, units in ((0, first), (5, last)):
        for run, depth, layer in layers_of(units):
            row = np.flatnonzero(
                (layers.run == run) & (layers.epoch == epoch) & (layers.depth == depth)
            )
            assert row.size == 1
            own = layers.isel(row=row[0])
            for name in ("selectivity", "loss_increase"):
                assert float(own[name]) == pytest.approx(float(layer[name].mean()))
            rho = spearmanr(layer.selectivity, layer.loss_increase).statistic
            expected = rho if depth == 0 else np.nan  # five units are too few
            assert float(own.spearman) == pytest.approx(expected, nan_ok=True)
