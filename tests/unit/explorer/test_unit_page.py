"""The page of a unit: what it shows, what it says of missing parts, and where its buttons lead."""

import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from unitlens.explorer.given_source import source_of_activations
from unitlens.explorer.unit_charts import (
    class_label,
    damage_chart,
    profile_chart,
    shown_classes,
)
from unitlens.explorer.unit_facts import class_profile
from unitlens.explorer.unit_samples import doubt_of_labels, kept_maps

pn = pytest.importorskip("panel")

from bokeh.models import HoverTool  # noqa: E402

from unitlens.explorer.unit_page import page_of_source, unit_of_activations  # noqa: E402

SAMPLES = 60


class Images:
    """Small images of named classes, which note what is read."""

    classes = ("cat", "<script>alert(1)</script>")

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.pixels = torch.from_numpy(rng.random((SAMPLES, 1, 8, 8))).float()
        self.labels = rng.integers(0, 2, SAMPLES)
        self.read = []

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        self.read.append(index)
        return self.pixels[index], int(self.labels[index])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 2)
    ).eval()
    path = tmp_path_factory.mktemp("page") / "acts.zarr"
    ul.record_activations(model, Images(), path, maps={"samples": 20})
    return ul.open_activations(path), ul.unit_ablation(model, Images()), path


def words_of(page):
    return " ".join(pane.object for pane in page.select(pn.pane.HTML))


def button(page, start):
    return next(one for one in page.select(pn.widgets.Button) if one.label.startswith(start))


def titles(page):
    return [
        title
        for title in (
            "Samples of largest activation",
            "Where in the image",
            "Samples spread over its quantiles",
            "Mean activation by class",
            "Activations by class",
            "Loss increase by class",
            "Place in its layer",
            "Closest units",
        )
        if title in words_of(page)
    ]


def test_page__has_all_parts_and_reads_only_the_images_that_it_shows(measured):
    acts, importance, _ = measured
    data = Images()

    page = unit_of_activations(acts, "1", 2, importance=importance, dataset=data)

    assert len(titles(page)) == 8
    assert words_of(page).count("<img") == 16 + 2 * 8 + 12
    assert sorted(set(data.read)) != list(range(SAMPLES))
    assert len(data.read) == 16 + 8 + 12
    assert "left out" not in words_of(page)
    assert len(page.select(pn.pane.Bokeh)) >= 3


def test_page__shows_names_as_text(measured):
    acts, importance, _ = measured

    page = unit_of_activations(acts, "1", 2, importance=importance, dataset=Images())

    assert "<script" not in words_of(page)
    assert "&lt;script&gt;" in words_of(page)


def test_page__leaves_out_what_is_missing_with_a_line(measured):
    acts, importance, _ = measured

    bare = unit_of_activations(acts, "1", 2)
    table = unit_of_activations(None, "1", 2, importance=importance)

    assert "importance was not given" in words_of(bare)
    assert "dataset was not given" in words_of(bare)
    assert titles(bare) == [
        "Samples of largest activation",
        "Samples spread over its quantiles",
        "Mean activation by class",
        "Activations by class",
        "Closest units",
    ]
    assert "acts was not given" in words_of(table)
    assert titles(table) == ["Loss increase by class", "Place in its layer"]


def test_buttons__lead_to_the_units_beside_it_and_to_the_closest(measured):
    acts, _, _ = measured
    page = unit_of_activations(acts, "1", 0)

    assert button(page, "◀").disabled
    button(page, "next").clicks += 1
    assert "1 · unit 1<" in words_of(page)
    button(page, "◀").clicks += 1
    assert "1 · unit 0<" in words_of(page)
    values = acts["1"].activation.values
    with np.errstate(invalid="ignore"):  # of units that are never active
        correlation = np.abs(np.corrcoef(values.T)[0])
    correlation[0] = 0
    near = int(np.nanargmax(correlation))
    button(page, f"unit {near}:").clicks += 1
    assert f"1 · unit {near}<" in words_of(page)


def test_buttons__call_the_frame_where_there_is_one(measured):
    chosen = []
    page = unit_of_activations(measured[0], "1", 0, on_unit=lambda *unit: chosen.append(unit))
    near = button(page, "unit ")

    near.clicks += 1

    assert chosen == [("1", int(near.label.split(":")[0].removeprefix("unit ")))]
    assert "1 · unit 0<" in words_of(page)
    assert not any("previous" in one.label for one in page.select(pn.widgets.Button))


def test_page_of_a_file__has_no_buttons_and_names_the_closest_units(measured):
    source = source_of_activations(measured[0])

    page = page_of_source(source, "1", 0, live=False)

    assert page.select(pn.widgets.Button) == []
    assert words_of(page).count(": r = ") >= 2


def test_page__survives_a_damaged_store(measured, tmp_path):
    importance = measured[1]
    shutil.copytree(measured[2], tmp_path / "acts.zarr")
    shutil.copy(measured[2].with_suffix(".json"), tmp_path / "acts.json")
    damaged = ul.open_activations(tmp_path / "acts.zarr")
    (shard,) = [
        path for path in (tmp_path / "acts.zarr/1/activation").rglob("*") if path.parent.name == "0"
    ]
    shard.write_bytes(bytes(shard.stat().st_size))

    page = unit_of_activations(damaged, "1", 2, importance=importance, dataset=Images())

    assert "activations are left out: the shard" in words_of(page)
    assert titles(page) == ["Loss increase by class", "Place in its layer"]


def test_page__tells_what_is_doubtful(measured):
    acts, importance, _ = measured
    acts = acts.copy()
    acts.attrs["doubts"] = "rows depend on batches"
    importance = importance.assign_attrs(doubts="<i>calls</i> differ")

    words = words_of(unit_of_activations(acts, "1", 3, importance=importance))

    assert "the activations are doubtful: rows depend on batches" in words
    assert "&lt;i&gt;calls&lt;/i&gt; differ" in words


def test_page__doubts_a_data_set_with_other_labels(measured):
    page = unit_of_activations(measured[0], "1", 2, dataset=Images(seed=1))

    assert "the data set is not the one that they were recorded over" in words_of(page)


def test_doubt__takes_the_label_of_training_as_well_as_the_true_one():
    responses = xr.Dataset(coords={"label": ("sample", [1, 2]), "true_label": ("sample", [0, 2])})
    views = [type("View", (), {"label": label})() for label in (0, 2)]

    assert doubt_of_labels(responses, views) == ""
    views[1].label = 5
    assert doubt_of_labels(responses, views).startswith("1 of 2 shown samples")


def test_kept_maps__are_those_of_the_unit_on_each_sample(measured):
    acts, _, _ = measured
    node = acts["1"]
    index = [int(node["map_sample"][3]), -5, int(node["map_sample"][0])]

    maps = kept_maps(
        source_of_activations(acts), "1", 4, xr.Dataset(coords={"index": ("sample", index)})
    )

    np.testing.assert_array_equal(maps[0], node["map"].values[3, 4])
    assert maps[1] is None
    np.testing.assert_array_equal(maps[2], node["map"].values[0, 4])


def test_chart__holds_the_bars_and_their_errors(measured):
    column = source_of_activations(measured[0]).column("1", 2)
    profile = class_profile(column)

    chart = profile_chart(profile, ["$$x$$", "b"])

    high = float((profile["mean"] + profile["mean_se"]).max())
    assert chart.y_range.start <= 0
    assert chart.y_range.end > high
    assert "$$" not in chart.xaxis[0].major_label_overrides[0]


def test_shown_classes__are_the_largest_in_the_order_of_labels():
    values = np.zeros(200)
    values[[150, 20]], values[7] = [5, -6], np.nan

    places = shown_classes(values)

    assert len(places) == 30
    assert {20, 150} <= set(places.tolist())
    assert 7 not in places
    assert places.tolist() == sorted(places.tolist())
    assert class_label(["cat"], 3) == "3"


def whiskers(chart):
    """Return the ends of the lines of a chart, and what is told of a bar under the mouse."""
    source = chart.renderers[0].data_source
    told = dict(chart.select_one({"type": HoverTool}).tooltips)
    words = next(told[key] for key in told if key != "class")
    return source.data["low"], source.data["high"], words


def test_damage__has_lines_of_95_percent_intervals_and_of_errors_where_there_are_none(measured):
    _, importance, _ = measured
    damage = importance.isel(unit=2)
    drop, error = damage["class_accuracy_drop"].values, damage["class_accuracy_drop_se"].values

    low, high, told = whiskers(damage_chart(damage, "class_accuracy_drop", ["cat", "dog"]))
    np.testing.assert_array_equal(low, damage["class_accuracy_drop_low"])
    np.testing.assert_array_equal(high, damage["class_accuracy_drop_high"])
    assert told == "@value{%.4g}, 95 % interval @low{%.2g} to @high{%.2g}"

    ends = ["class_accuracy_drop_low", "class_accuracy_drop_high"]
    low, high, told = whiskers(damage_chart(damage.drop_vars(ends), "class_accuracy_drop", []))
    np.testing.assert_allclose((low, high), (drop - error, drop + error))
    assert told == "@value{%.4g} ± @error{%.2g}"


def test_page__tells_intervals_of_accuracy_drops(measured):
    acts, importance, _ = measured
    page = unit_of_activations(acts, "1", 2, importance=importance)
    assert "Accuracy drop by class without the unit, 95 % intervals" in words_of(page)
    assert "Loss increase by class without the unit, ± 1 standard error" in words_of(page)

    still = importance.copy(deep=True)
    for name in ("class_accuracy_drop", "class_accuracy_drop_se"):
        still[name][:] = 0
    still["class_accuracy_drop_low"][:], still["class_accuracy_drop_high"][:] = -0.06, 0.06
    words = words_of(unit_of_activations(acts, "1", 2, importance=still))
    assert "exactly 0 in every class, with 95 % intervals of at most -0.06 to 0.06" in words
    earlier = still.drop_vars([name for name in still if str(name).endswith(("_low", "_high"))])
    words = words_of(unit_of_activations(acts, "1", 2, importance=earlier))
    assert "exactly 0 in every class" in words
    assert "95 % intervals of at most" not in words
