"""The numbers behind the views: what is drawn, selected, left out, and told."""

import numpy as np
import pytest

import unitlens as ul
from synthetic_results import default_networks, write_results
from unitlens.errors import TableError
from unitlens.explorer import overview_scatter
from unitlens.explorer.axis_scales import AxisScale, fit_scale
from unitlens.explorer.depth_medians import depth_medians
from unitlens.explorer.overview_scatter import UnitScatter
from unitlens.explorer.point_colours import colour_points
from unitlens.explorer.unit_columns import UnitColumns, UnitName
from unitlens.explorer.unit_link import link_to_unit, unit_of_link
from unitlens.plot.style import COLOURS

# Bokeh 3.9 calls pandas with an argument that pandas 4 will lack.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    folder = write_results(tmp_path_factory.mktemp("explored") / "results")
    return UnitColumns(ul.open_results(folder).units)


@pytest.fixture
def scatter(columns):
    runs = columns.runs[:3]
    return UnitScatter(columns, "selectivity", "loss_increase", "linear", "symlog", "layer", runs)


@pytest.mark.parametrize("kind", ["linear", "log", "symlog"])
def test_scale__keeps_the_order_of_values(kind):
    values = np.sort(np.random.default_rng(0).normal(size=200))
    placed = fit_scale(kind, values).forward(values)

    drawn = placed[np.isfinite(placed)]
    assert (np.diff(drawn) > 0).all()
    assert drawn.size == (np.sum(values > 0) if kind == "log" else values.size)


@pytest.mark.parametrize("scale", [AxisScale("log"), AxisScale("symlog", 1e-4)])
@pytest.mark.parametrize("ends", [(0.003, 4000.0), (0.2, 0.9)])
def test_scale__sets_ticks_at_the_values_that_they_tell(scale, ends):
    low, high = scale.forward(np.array(ends))
    ticks = scale.ticks(low, high)

    assert ticks
    for place, told in ticks:
        assert low <= place <= high
        assert place == pytest.approx(scale.forward(np.array([float(told)]))[0])


def test_rows__are_those_of_the_chosen_runs_that_have_a_place(scatter):
    units = scatter.columns.table
    chosen = np.isin(units["run"].values, scatter.runs)
    there = np.isfinite(units["selectivity"].values) & np.isfinite(units["loss_increase"].values)

    assert scatter.rows.tolist() == np.flatnonzero(chosen & there).tolist()


def test_box__selects_what_lies_in_it(scatter):
    values = scatter.columns.table["selectivity"].values
    (_, _), (low, high) = scatter.ranges

    expected = [row for row in scatter.rows if 0.2 <= values[row] <= 0.4]
    assert expected
    assert scatter.within(0.2, low, 0.4, high).tolist() == expected


def test_lasso__selects_as_a_box_where_it_is_one_and_by_hand_where_it_is_not(scatter):
    (_, _), (low, high) = scatter.ranges
    box = np.array([[0.2, low], [0.4, low], [0.4, high], [0.2, high]])
    assert scatter.inside(box).tolist() == scatter.within(0.2, low, 0.4, high).tolist()

    triangle = np.array([[0.0, low], [1.0, low], [0.0, high]])
    x = scatter.columns.values("selectivity")
    y = scatter.y_axis.forward(scatter.columns.values("loss_increase"))
    under = [row for row in scatter.rows if x[row] + (y[row] - low) / (high - low) < 1]
    assert scatter.inside(triangle).tolist() == under


def test_nearest__is_the_unit_at_a_place_or_none(scatter):
    rows, x, y = scatter._placed
    (x_low, x_high), (y_low, y_high) = scatter.ranges
    top = int(np.argmax(y))

    lengths = x_high - x_low, y_high - y_low
    assert scatter.nearest(x[top], y[top], *lengths) == rows[top]
    assert scatter.nearest(x_high + 1, y_high + 1, *lengths) is None


def test_note__counts_what_a_log_axis_and_nan_leave_out(columns):
    drawn = UnitScatter(
        columns, "class_correlation", "loss_increase", "linear", "log", "layer", columns.runs
    )
    undefined = np.sum(np.isnan(columns.values("class_correlation")))
    low = np.sum(columns.values("loss_increase") <= 0)

    assert undefined
    assert f"class correlation is not defined for {undefined} of {columns.size}" in drawn.note
    assert f"loss increase (nats) is 0 or less for {low} units" in drawn.note


@pytest.mark.parametrize("colour", ["layer", "run", "preferred_class", "mutual_information"])
@pytest.mark.parametrize("most", [10, 20_000])
def test_draw__renders_marks_and_pixels(monkeypatch, columns, colour, most):
    import holoviews as hv

    monkeypatch.setattr(overview_scatter, "DRAWN_SINGLY", most)
    scatter = UnitScatter(
        columns, "selectivity", "loss_increase", "linear", "linear", colour, columns.runs
    )
    drawn, _ = scatter.draw()
    plot = hv.renderer("bokeh").get_plot(drawn).state

    from bokeh.models import ImageRGBA, Scatter
    from bokeh.models.glyphs import Image

    marks = [g for g in plot.select({"type": Scatter}) if g.x == "x"]
    pixels = [*plot.select({"type": Image}), *plot.select({"type": ImageRGBA})]
    assert bool(marks) == (most > columns.size)
    assert bool(pixels) == (most < columns.size)


def test_colours__name_eight_categories_and_count_the_others(columns):
    colours = colour_points(columns, "run", np.arange(columns.size))

    assert len(columns.runs) > len(COLOURS)
    assert len(colours.names) == len(COLOURS)
    assert colours.names[-1] == f"other ({len(columns.runs) - 7} more)"
    others = np.isin(columns.run_codes, np.unique(columns.run_codes[colours.categories == 7]))
    assert (others == (colours.categories == 7)).all()


def test_unit__is_found_by_its_name_and_its_link(columns):
    for row in (0, 17, columns.size - 1):
        unit = columns.name_of(row)
        assert columns.row_of(unit) == row
        assert unit_of_link(link_to_unit(unit)) == unit
    odd = UnitName("a&b=c #1%", "blocks.0 / ü?", 3)
    assert unit_of_link(link_to_unit(odd)) == odd


@pytest.mark.parametrize("query", ["?run=a&layer=b&channel=x", "?run=a&layer=b&channel=-2"])
def test_link__to_no_unit_is_told(columns, query):
    with pytest.raises(TableError, match=r"run = 'a', layer = 'b'.*no such unit"):
        columns.row_of(unit_of_link(query))


def test_depth_medians__are_those_of_the_defined_units(columns):
    table = depth_medians(columns, "class_correlation", columns.runs[:2])
    units = columns.table

    assert set(table["run"]) == set(columns.runs[:2])
    for row in table.itertuples():
        values = units["class_correlation"].sel(run=row.run, layer=row.layer).values
        assert row.median == np.nanmedian(values)
        assert (row.units, row.undefined) == (np.isfinite(values).sum(), np.isnan(values).sum())


def test_explore__leaves_out_what_is_missing_with_a_line(tmp_path):
    without = ("unit_ablation", "unit_measures", "cumulative_ablation", "noise_robustness")
    folder = write_results(tmp_path / "results", default_networks()[:1], without=without)
    shown = ul.explore(folder)

    import panel as pn

    told = [pane.object for pane in shown.select(pn.pane.Str)]
    assert any("there is no table &#x27;units&#x27;" in line or "'units'" in line for line in told)
