"""A click opens the unit that the clicked row shows, whatever happened while it was on its way."""

import pytest

import unitlens as ul
from synthetic_results import default_networks, write_results
from unitlens.explorer.unit_columns import UnitColumns

pn = pytest.importorskip("panel")

from panel.models.tabulator import CellClickEvent  # noqa: E402

from unitlens.explorer.overview import Overview  # noqa: E402

# Bokeh 3.9 calls pandas with an argument that pandas 4 will lack.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    folder = write_results(tmp_path_factory.mktemp("table") / "results", default_networks()[:3])
    return UnitColumns(ul.open_results(folder).units)


@pytest.fixture
def opened():
    return []


@pytest.fixture
def overview(columns, opened):
    return Overview(columns, opened.append)


def table_of(overview):
    (table,) = overview.view().select(pn.widgets.Tabulator)
    return table


def click(table, place):
    """Do what a click on the row at a place of the shown page does."""
    table._process_event(CellClickEvent(None, "layer", place))


def unit_at(table, row):
    """Return layer and channel of a row of the whole table."""
    frame = table.value
    for sorter in table.sorters:
        frame = frame.sort_values(sorter["field"], ascending=sorter["dir"] == "asc")
    return str(frame["layer"].iloc[row]), int(frame["channel"].iloc[row])


def of(opened):
    return [(unit.layer, unit.channel) for unit in opened]


def answer(overview):
    """Let the browser say that it shows what it was sent."""
    sent, shown = (one for one in overview.view().select(pn.widgets.IntInput) if not one.visible)
    shown.value = sent.value


def test_click__on_the_table_of_a_former_selection_opens_the_unit_of_its_row(
    overview, columns, opened
):
    former = table_of(overview)
    (run,) = list(overview.view().select(pn.widgets.MultiSelect))
    run.value = columns.runs[1:2]
    now = table_of(overview)
    assert unit_at(former, 2) != unit_at(now, 2) or former.value["run"][2] != now.value["run"][2]

    click(former, 2)
    click(now, 2)

    assert of(opened) == [unit_at(former, 2), unit_at(now, 2)]
    assert opened[0].run.startswith(str(former.value["run"].iloc[2]))
    assert opened[1].run == columns.runs[1]


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"page": 2}, 14 + 3),
        ({"sorters": [{"field": "selectivity", "dir": "desc"}]}, 3),
    ],
)
def test_click__is_refused_until_the_browser_shows_the_page_and_the_order(
    overview, opened, change, row
):
    table = table_of(overview)
    table.param.update(**change)
    click(table, 3)
    lines = [pane.object for pane in overview.view().select(pn.pane.Str) if pane.visible]

    assert opened == []
    assert any("no unit was opened: click again" in line for line in lines)
    answer(overview)
    click(table, 3)
    assert of(opened) == [unit_at(table, row)]
    lines = [pane.object for pane in overview.view().select(pn.pane.Str) if pane.visible]
    assert not any("click again" in line for line in lines)


def test_late_box__of_a_former_plot_selects_nothing(overview, columns):
    former = overview._scatter
    (run,) = list(overview.view().select(pn.widgets.MultiSelect))
    run.value = columns.runs[1:2]
    (x_low, x_high), (y_low, y_high) = former.ranges
    before = overview.selected.tolist()

    overview._boxed(former, (x_low, y_low, x_high, y_high))

    assert overview.selected.tolist() == before
