"""Kept epochs in the explorer: their units, a unit's page at one of them, and two compared."""

import numpy as np
import param
import pytest
import xarray as xr

import unitlens as ul
from small_stores import make_columns, make_contents, write_store
from synthetic_results import KEPT, default_networks, network, write_results
from unitlens.errors import TableError

pn = pytest.importorskip("panel")

from unitlens.explorer.epoch_tab import EpochTab  # noqa: E402
from unitlens.explorer.epoch_units import joined_epochs  # noqa: E402
from unitlens.explorer.kept_epochs import kept_epochs, units_of  # noqa: E402
from unitlens.explorer.recording_choice import WantedRecording  # noqa: E402
from unitlens.explorer.unit_page import unit_page  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Open the results of a network with kept epochs, and of one without."""
    networks = default_networks()
    folder = tmp_path_factory.mktemp("kept") / "results"
    return ul.open_results(write_results(folder, [networks[2], networks[0]]))


@pytest.fixture(scope="module")
def run(results):
    return str(results.checkpoints.runs["run"].values[0])


def measured(results, run, name, epoch, layer, channel):
    """Return a measure of a unit from the file of its network."""
    place = results.directory / run / ("" if epoch is None else f"epoch-{epoch:04d}")
    table = xr.open_dataset(place / f"{name[0]}.nc")
    (row,) = np.flatnonzero((table["layer"] == layer) & (table["channel"] == channel))
    return float(table[name[1]].values[row])


def words_of(view):
    return " ".join(
        pane.object for kind in (pn.pane.HTML, pn.pane.Str) for pane in view.select(kind)
    )


def slide(slider, value):
    """Move a slider, as a browser does."""
    slider.value = value
    with param.edit_constant(slider):
        slider.value_throttled = value


@pytest.mark.parametrize("epoch", [0, 4, None])
def test_page__shows_measures_of_the_epoch(results, run, epoch):
    view = unit_page(results, run, "relu2", 5, wanted=WantedRecording(epoch=epoch))

    value = measured(results, run, ("unit_ablation", "loss_increase"), epoch, "relu2", 5)
    table = words_of(view).split("percentile in its layer")[1]
    assert f"{value:.4g} ±" in table
    assert ("end of training" if epoch is None else f"epoch {epoch}") in words_of(view)


def test_page__has_the_measures_over_all_epochs(results, run):
    words = words_of(unit_page(results, run, "relu1", 2))

    course = words.split("Value, and percentile in the layer, at each epoch.")[1]
    for epoch in (*KEPT, None):
        value = measured(results, run, ("unit_measures", "selectivity"), epoch, "relu1", 2)
        assert f"<td>{value:.4g} (" in course


def test_page__of_an_epoch_without_a_store_says_so_and_takes_the_store_that_is_there(results, run):
    wanted = WantedRecording(epoch=2)
    assert "there are no activations of epoch 2; set measurements.measures.checkpoints" in words_of(
        unit_page(results, run, "relu2", 5, wanted=wanted)
    )
    layers = {"relu1": 24, "relu2": 24}
    contents = make_contents(samples=31, layers=layers)
    folder = results.directory / run / "epoch-0008" / "test"
    folder.mkdir()
    write_store(folder / "activations.zarr", contents, make_columns(contents, seed=1))

    view = unit_page(results, run, "relu2", 5, wanted=wanted)
    (slider,) = view.select(pn.widgets.DiscreteSlider)
    slide(slider, 8)

    assert "31 samples of split test" in words_of(view)
    assert "activations are left out" not in words_of(view)
    assert wanted.epoch == 8


def test_page__of_a_run_without_kept_epochs_has_no_slider(results, run):
    other = next(str(name) for name in results.runs["run"].values if name != run)

    view = unit_page(results, other, "relu2", 5, wanted=WantedRecording(epoch=2))

    assert not view.select(pn.widgets.DiscreteSlider)[0].visible
    assert "Over the epochs" not in words_of(view)
    assert kept_epochs(results, other) == []


def test_joined_epochs__have_each_measure_of_both(results, run):
    first, second = units_of(results, run, 1), units_of(results, run, None)

    joined = joined_epochs(first, second, (1, None))

    row = int(np.flatnonzero((joined["layer"] == "relu2") & (joined["channel"] == 7))[0])
    for key, epoch in (("first", 1), ("second", None)):
        value = measured(results, run, ("unit_measures", "ccmas"), epoch, "relu2", 7)
        assert float(joined[f"ccmas@{key}"][row]) == value
    assert joined["ccmas@first"].attrs["long_name"].endswith(", epoch 1")
    with pytest.raises(TableError, match="epoch 1 and end of training are not the same"):
        joined_epochs(first.isel(unit=slice(1, None)), second, (1, None))


def test_tab__compares_the_epochs_that_the_sliders_name(results, run):
    tab = EpochTab(results)
    view = tab.view()
    first, second = view.select(pn.widgets.DiscreteSlider)
    assert first.options == [*KEPT, "end of training"]
    slide(first, 4)
    slide(second, 8)

    (table,) = view.select(pn.widgets.Tabulator)
    row = table.value.set_index("differs in").loc["test accuracy"]
    runs = results.checkpoints.runs
    for epoch in (4, 8):
        (at,) = np.flatnonzero(runs["epoch"].values == epoch)
        assert row[f"epoch {epoch}"] == f"{runs['test_accuracy'].values[at]:.4g}"
    assert "48 of 48 units are drawn" in words_of(view)
    assert "is no table" not in words_of(view)


def test_tab__and_page_show_looks_inside_epochs(tmp_path):
    looks = (0, 0.25, 1, 10.125)
    made = network(("only",), kept=looks)
    results = ul.open_results(write_results(tmp_path / "results", [made]))

    view = EpochTab(results).view()
    first, second = view.select(pn.widgets.DiscreteSlider)
    assert first.options == [*looks, "end of training"]
    assert [label.split("<b>")[1] for label in first.labels] == [
        *("0</b>", "0.25</b>", "1</b>", "10.125</b>", "end of training</b>")
    ]
    slide(first, 0.25)
    slide(second, 10.125)

    (table,) = view.select(pn.widgets.Tabulator)
    rows = table.value.set_index("differs in")
    for look, row in zip(looks, results.checkpoints.runs["test_loss"].values, strict=True):
        if look in (0.25, 10.125):
            assert rows.loc["test loss (nats)"][f"epoch {look}"] == f"{row:.4g}"
    assert "48 of 48 units are drawn" in words_of(view)
    page = words_of(unit_page(results, made.name, "relu2", 5, wanted=WantedRecording(epoch=0.25)))
    stored = xr.open_dataset(tmp_path / "results" / made.name / "epoch-0000.25/unit_measures.nc")
    (at,) = np.flatnonzero((stored["layer"] == "relu2") & (stored["channel"] == 5))
    assert f"<td>{float(stored['selectivity'][at]):.4g} (" in page
    assert "epoch 0.25" in page
    assert "epoch 1<" in page


def test_tab__says_what_was_not_measured_at_an_epoch(tmp_path):
    network = default_networks()[2]
    without = ("unit_measures", "unit_ablation", "noise_robustness")
    folder = write_results(tmp_path / "results", [network], without=without)

    view = EpochTab(ul.open_results(folder)).view()

    told = words_of(view)
    assert "no noise of any kept epoch; set measurements.noise_robustness.checkpoints" in told
    assert "no measures of epoch 0; set measurements.measures.checkpoints to true" in told
    (table,) = view.select(pn.widgets.Tabulator)
    assert not table.value.isin(["-1", "nan"]).any().any()
