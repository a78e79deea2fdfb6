"""The explorer in Chromium: it opens, selects, opens units, and asks no other host for anything."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

import unitlens as ul
from synthetic_results import default_networks, write_results

SOURCE = Path(__file__).parents[3] / "src"
MARKUP = "<img src=x onerror=window.broken=1>"  # the name of a layer
CHROMIUM = "/usr/bin/chromium"
WAIT = 20_000  # milliseconds for a server on a busy machine


def command(*arguments):
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}
    return [sys.executable, "-m", "unitlens", "explore", *map(str, arguments)], environment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write results of four networks, one with a layer whose name is markup, without noise."""
    networks = default_networks()[:4]
    layers = tuple((MARKUP if d == 0 else name, d, n) for name, d, n in networks[1].layers)
    networks[1] = replace(networks[1], layers=layers)
    directory = tmp_path_factory.mktemp("explored") / "results"
    return write_results(directory, networks, without=("noise_robustness",))


@pytest.fixture(scope="module")
def address(folder):
    line, environment = command(folder, "--no-open")
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().split()[0]
        server.terminate()


@pytest.fixture(scope="module")
def chromium():
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page, with what went wrong on it."""

    def __init__(self, browser, width, height=950, **options):
        self.wrong = []
        self.asked = []
        viewport = {"width": width, "height": height}
        self.page = browser.new_page(viewport=viewport, **options)
        self.page.set_default_timeout(WAIT)
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _told(self, message):
        if message.type == "error":
            self.wrong.append(message.text)

    def end(self, start):
        """Hold that no error was met, and that all that was asked for lies under an address."""
        elsewhere = [url for url in self.asked if not url.startswith((start, "data:", "blob:"))]
        broken = self.page.evaluate("window.broken")
        self.page.close()
        assert (self.wrong, elsewhere, broken) == ([], [], None)


@pytest.fixture(params=[1300, 800])
def visit(chromium, address, request):
    made = Visit(chromium, request.param)
    made.page.goto(address)
    made.page.get_by_text("units are drawn").wait_for()
    yield made
    made.end(address)


@pytest.fixture
def wide(chromium, address):
    made = Visit(chromium, 1300)
    made.page.goto(address)
    made.page.get_by_text("units are drawn").wait_for()
    yield made.page
    made.end(address)


def first_row(page):
    """Return the visible cells of the first row of the table of the selection."""
    cells = page.locator(".tabulator-row").first.locator(".tabulator-cell:visible")
    cells.first.wait_for()
    return cells.all_inner_texts()


def drag(page, left, top, right, bottom):
    """Select a box of the plot, given as shares of its area."""
    page.locator(".bk-tool-icon-box-select").first.click()
    box = page.locator(".bk-Figure").nth(1).bounding_box()
    across, down = box["width"], box["height"]
    page.mouse.move(box["x"] + left * across, box["y"] + top * down)
    page.mouse.down()
    page.mouse.move(box["x"] + right * across, box["y"] + bottom * down, steps=6)
    page.mouse.up()


def test_overview__opens_with_the_unit_of_largest_loss_increase_first(visit, folder):
    units = ul.open_results(folder).units
    row = int(np.nanargmax(units["loss_increase"].values))

    assert visit.page.get_by_text(f"{units.sizes['unit']} of {units.sizes['unit']} units").count()
    shown = first_row(visit.page)
    assert units["run"].values[row].startswith(shown[0])
    assert shown[1:3] == [units["layer"].values[row], str(units["channel"].values[row])]
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert visit.page.evaluate(overflow) <= 0


def test_overview__shows_other_axes_and_says_what_a_log_axis_leaves_out(wide, folder):
    values = ul.open_results(folder).units["mutual_information"].values
    wide.get_by_label("y", exact=True).select_option("mutual information (nats)")
    wide.get_by_label("scale of y").select_option("log")

    told = f"mutual information (nats) is 0 or less for {np.sum(values <= 0)} units"
    wide.get_by_text(told).wait_for()
    shown = first_row(wide)
    assert float(shown[4]) == pytest.approx(values.max(), abs=6e-4)


def test_overview__selects_by_box(wide, folder):
    units = ul.open_results(folder).units
    drag(wide, 0.5, 0.1, 0.9, 0.8)
    line = wide.get_by_text("units are selected")
    line.wait_for()
    chosen = int(re.match(r"\d+", line.inner_text())[0])

    assert 0 < chosen < units.sizes["unit"]
    with wide.expect_download() as told:
        wide.get_by_text("CSV", exact=True).click()
    table = pd.read_csv(told.value.path())
    assert len(table) == chosen
    one = table.iloc[0]
    same = units.sel(run=one["run"], layer=one["layer"], channel=one["channel"])
    assert one["loss_increase"] == pytest.approx(same["loss_increase"].item())
    with wide.expect_download() as told:
        wide.get_by_text("Parquet", exact=True).click()
    pd.testing.assert_frame_equal(pd.read_parquet(told.value.path()), table)


def test_unit__opens_by_a_row_has_a_link_and_steps_through_its_layer(wide, chromium, address):
    _, layer, channel, *_ = first_row(wide)
    wide.locator(".tabulator-row").first.locator(".tabulator-cell:visible").nth(1).click()
    named = f"{layer} · unit {channel}"
    wide.get_by_text(named, exact=True).wait_for()
    wide.wait_for_url(re.compile(rf"\?run=.*&channel={channel}$"))

    other = Visit(chromium, 800)
    other.page.goto(wide.url)
    other.page.get_by_text(named).wait_for()
    other.end(address)

    wide.get_by_text("Next →").click()
    following = f"{layer} · unit {(int(channel) + 1) % 24}"
    wide.get_by_text(following, exact=True).wait_for()


INK = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    const shades = new Set()
    for (let at = 0; at < data.length; at += 4) {
        shades.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2])
    }
    return shades.size
}"""  # colours in the picture of a canvas


@pytest.mark.parametrize("width", [1300, 800])
def test_unit__has_all_its_charts_drawn(chromium, address, folder, width):
    """Charts of a network whose kept epochs are measured too."""
    units = ul.open_results(folder).checkpoints.units
    run, layer = (str(units[name].values[0]) for name in ("run", "layer"))
    made = Visit(chromium, width)
    made.page.goto(f"{address}?{urlencode({'run': run, 'layer': layer, 'channel': 0})}")
    made.page.get_by_text("Over the epochs of training").wait_for()
    charts = made.page.get_by_role("img").filter(has=made.page.locator("canvas"))
    charts.nth(1).wait_for()
    made.page.wait_for_timeout(500)

    for chart in charts.all():
        box = chart.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
        assert chart.locator("canvas").first.evaluate(INK) > 3
    made.end(address)


def test_unit__opens_by_a_row_of_another_page_and_order(wide, folder):
    """A click that comes before the browser shows the new rows is refused with a line."""
    first_row(wide)
    values = ul.open_results(folder).units["selectivity"]
    ordered = values.values[np.argsort(values.values)]  # ascending
    wide.locator(".tabulator-col", has_text="class selectivity").first.click()
    wide.locator(".tabulator-page", has_text="Next").click()
    for _ in range(100):
        cells = wide.locator(".tabulator-row").nth(2).locator(".tabulator-cell:visible")
        shown = cells.all_inner_texts()
        if len(shown) > 3 and float(shown[3]) == pytest.approx(ordered[14 + 2], abs=6e-4):
            break
        wide.wait_for_timeout(100)
    cells.nth(1).click()
    wide.get_by_text(f"{shown[1]} · unit {shown[2]}", exact=True).wait_for()
    found = values.where((values["layer"] == shown[1]) & (values["channel"] == int(shown[2])))
    assert np.nanmin(abs(found.values - ordered[14 + 2])) == 0


def test_unit__says_that_a_link_names_none(chromium, address):
    made = Visit(chromium, 1300)
    made.page.goto(f"{address}?run=a&layer=b&channel=7")
    told = "run = 'a', layer = 'b', channel = 7: the table of units has no such unit"
    made.page.get_by_text(told).wait_for()
    made.end(address)


def test_markup_in_names__is_shown_as_text(wide):
    wide.get_by_text("Unit", exact=True).click()
    run = wide.get_by_label("run", exact=True)
    run.select_option(index=1)
    wide.get_by_label("layer", exact=True).select_option(MARKUP)
    wide.get_by_text("Show", exact=True).click()

    wide.get_by_text(f"{MARKUP} · unit 0", exact=True).wait_for()


def test_layers_and_runs__compare_runs_and_say_what_is_missing(visit, folder):
    runs = ul.open_results(folder).runs
    visit.page.get_by_text("Layers and runs").click()
    visit.page.get_by_text("The runs side by side").wait_for()
    visit.page.get_by_text("there is no table 'noise'").wait_for()
    rows = visit.page.locator(".tabulator-row").filter(has_text="test accuracy")
    rows.first.wait_for()

    cells = rows.first.locator(".tabulator-cell:visible").all_inner_texts()
    assert [float(cell) for cell in cells[1:]] == pytest.approx(
        runs["test_accuracy"].values[:2], rel=1e-3
    )


def test_saved_page__needs_no_network_and_opens_pages_of_units_by_keys(chromium, folder, tmp_path):
    page, run = tmp_path / "page.html", ul.open_results(folder).units["run"].values[-1]
    line, environment = command(folder, "--save", page, "--unit", f"{run}/relu2/7", "--top", 1)
    subprocess.run(line, env=environment, check=True, capture_output=True)
    made = Visit(chromium, 800)
    made.page.context.set_offline(True)
    made.page.goto(page.as_uri())
    made.page.get_by_text("units are drawn").wait_for()
    made.page.get_by_text("Largest loss increase").wait_for()
    of_unit = made.page.get_by_text("Place in its layer").locator("visible=true")

    assert page.stat().st_size < 10_000_000
    assert of_unit.count() == 0
    title = made.page.get_by_role("button").filter(has_text="relu2, channel 7 of ")
    title.focus()
    made.page.keyboard.press("Enter")
    of_unit.wait_for()
    assert made.page.get_by_text("relu2, channel 7 of ").locator("visible=true").count() == 1
    assert made.page.get_by_text("relu2 · unit 7").count() == 0  # the title, once
    made.end("file://")


def test_saved_page__of_one_unit_shows_its_page_at_once(chromium, folder, tmp_path):
    """The name of the unit's layer is markup, which is shown as text."""
    page, run = tmp_path / "page.html", ul.open_results(folder).runs["run"].values[1]
    line, environment = command(folder, "--save", page, "--unit", f"{run}/{MARKUP}/0")
    subprocess.run(line, env=environment, check=True, capture_output=True)
    made = Visit(chromium, 1300)
    made.page.goto(page.as_uri())
    made.page.get_by_text("Place in its layer").wait_for()

    assert made.page.get_by_text(f"{MARKUP}, channel 0 of ").count() == 1
    made.end("file://")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--unit", "run/relu1/3"), "--unit is given without --save"),
        (("--top", "2"), "--top is given without --save"),
        (("--save", "page.html", "--unit", "relu1/3"), "unit = 'relu1/3': must be RUN/LAYER/CHA"),
        (("--save", "page.html", "--unit", "run/relu1/3"), "no such unit; of its runs: known: "),
    ],
)
def test_saved_page__refuses_wrong_units_in_one_line(folder, tmp_path, arguments, told):
    line, environment = command(folder, *arguments)
    done = subprocess.run(
        line, env=environment, check=False, capture_output=True, text=True, cwd=tmp_path
    )

    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_sample__without_a_store_is_a_line(wide):
    wide.get_by_text("Sample", exact=True).click()
    wide.get_by_text(re.compile("there are no activations")).wait_for()


FOCUSED = """() => {
    let at = document.activeElement;
    while (at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement;
    const style = getComputedStyle(at);
    const label = at.labels && at.labels.length ? at.labels[0].innerText : at.innerText;
    return [label || "", style.outlineStyle, style.outlineWidth, style.outlineColor];
}"""


def tab_to(page, label):
    """Press Tab until what has the focus bears a label; hold that its mark is seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        found, *mark = page.evaluate(FOCUSED)
        if found == label:
            assert mark == ["solid", "3px", "rgb(0, 114, 178)"]
            return
    raise AssertionError(f"Tab does not reach {label!r}")


def test_keyboard__reaches_all_controls_and_steps_through_units(wide):
    first_row(wide)
    controls = ["x", "scale of x", "y", "scale of y", "colour", "runs", "Next", "CSV", "Parquet"]
    for label in controls[:6]:
        tab_to(wide, label)
    for _ in range(40):  # past the plot and the table, whose cells take no focus
        wide.keyboard.press("Tab")
        if wide.evaluate(FOCUSED)[0] == "Next":
            break
    else:
        raise AssertionError("the table keeps the focus")
    for label in ("CSV", "Parquet", "Unit"):
        tab_to(wide, label)
    wide.keyboard.press("Enter")
    wide.get_by_label("step through").wait_for()
    tab_to(wide, "Next →")
    wide.keyboard.press("Enter")
    wide.get_by_text("relu1 · unit 0", exact=True).wait_for()
    wide.keyboard.press("Enter")  # the focus stays on the step
    wide.get_by_text("relu1 · unit 1", exact=True).wait_for()
    wide.keyboard.press("Shift+Tab")
    wide.keyboard.press("Enter")
    wide.get_by_text("relu1 · unit 0", exact=True).wait_for()


def test_titles_and_charts__have_words_for_a_screen_reader(wide):
    assert wide.get_by_role("heading", level=1).inner_text() == "Units of trained networks"
    wide.get_by_role("img", name="loss increase (nats) by class selectivity of units").wait_for()
    first_row(wide)
    wide.locator(".tabulator-row").first.locator(".tabulator-cell:visible").nth(1).click()
    wide.get_by_role("img", name="loss increase (nats) by class").wait_for()
    wide.get_by_role("rowheader", name="class selectivity", exact=True).wait_for()
    assert wide.get_by_role("heading", level=2).count() == 1  # the unit, once


def test_epochs__are_compared_by_sliders_that_the_keyboard_moves(visit):
    visit.page.get_by_text("Epochs", exact=True).click()
    visit.page.get_by_text("The epochs side by side").wait_for()
    visit.page.get_by_text("48 of 48 units are drawn").wait_for()
    visit.page.get_by_role("slider").first.focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.get_by_text("epoch 1", exact=True).first.wait_for()
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert visit.page.evaluate(overflow) <= 0


@pytest.fixture
def url(folder):
    """Serve the results at a URL of this machine."""
    serve = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(serve, cwd=folder.parent, **options) as server:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        yield f"http://127.0.0.1:{port}/{folder.name}"
        server.terminate()


@pytest.fixture
def address_of_url(url):
    line, environment = command(url, "--no-open")
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().split()[0]
        server.terminate()


def test_results_at_a_url__open_as_a_folder_does(chromium, address_of_url):
    made = Visit(chromium, 1300)
    made.page.set_default_timeout(3 * WAIT)
    made.page.goto(address_of_url)
    made.page.get_by_text("units are drawn").wait_for()
    _, layer, channel, *_ = first_row(made.page)
    row = made.page.locator(".tabulator-row").first
    row.locator(".tabulator-cell:visible").nth(1).click()
    made.page.get_by_text(f"{layer} · unit {channel}", exact=True).wait_for()
    made.page.get_by_text("Place in its layer", exact=True).wait_for()
    made.end(address_of_url)
