"""The workflow makes the explorer's page where the configuration asks for the page."""

import copy
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from workflow_runs import TINY, environment, planned_jobs, snakemake

import unitlens as ul

pytestmark = pytest.mark.slow

CHROMIUM = "/usr/bin/chromium"
EXPLORED = {**copy.deepcopy(TINY), "explorer": True}
# What Python runs at its start: the package of the extra is not found.
HIDING = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "panel" else found(name, *rest)
"""


@pytest.fixture(scope="module")
def explored(finished, tmp_path_factory):
    """Return finished results to which the page was added, and the run whose stores are gone."""
    directory = tmp_path_factory.mktemp("explored")
    shutil.copytree(finished / "results", directory / "results")
    shutil.copytree(finished / ".snakemake/metadata", directory / ".snakemake/metadata")
    removed = str(ul.open_results(directory / "results").runs["run"].values[0])
    for split in ("train", "test"):
        shutil.rmtree(directory / "results" / removed / split / "activations.zarr")
    planned = planned_jobs(snakemake(directory, "--dry-run", "all", config=EXPLORED))
    done = snakemake(directory, "all", config=EXPLORED)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory, removed, planned


def test_page__is_made_from_finished_results_without_another_measurement(explored):
    directory, _, planned = explored
    # compare_with_paper and write_report name the place of the configuration.
    assert planned.keys() - {"compare_with_paper"} == {
        "save_explorer", "write_report", "all", "total"
    }  # fmt: skip
    again = snakemake(directory, "--dry-run", "all", config=EXPLORED)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_page__is_small_and_linked_from_the_report(explored, finished):
    directory, _, _ = explored
    link = '<a href="explorer.html">'

    assert (directory / "results/explorer.html").stat().st_size < 10_000_000
    assert link in (directory / "results/report.html").read_text()
    assert link not in (finished / "results/report.html").read_text()
    assert not (finished / "results/explorer.html").exists()


def test_page__opens_from_the_report_and_shows_units_of_all_networks(explored):
    """Where stores are gone, a line says so, and images are those that the statistics name."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    directory, removed, _ = explored
    runs = ul.open_results(directory / "results").runs["run"].values
    other = next(str(run) for run in runs if run != removed)
    wrong, asked = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 800, "height": 900})
        page.set_default_timeout(20_000)
        page.context.set_offline(True)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto((directory / "results/report.html").as_uri())
        page.get_by_role("link", name="Explorer of units", exact=True).click()
        page.get_by_text("units are drawn").wait_for()
        for run, shown in ((removed, "activations are left out"), (other, "Samples of largest")):
            short = run.rpartition("-")[0]
            title = page.get_by_role("button").filter(
                has_text=re.compile(f"of {re.escape(short)}: most important unit of its network")
            )
            title.click()
            page.get_by_text(shown).locator("visible=true").first.wait_for()
            told = page.get_by_text("activations are left out").locator("visible=true")
            assert bool(told.count()) == (run == removed)
            assert page.locator("img:visible").count() > 10
            title.click()
        browser.close()
    assert wrong == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_missing_extra__is_refused_before_work_with_its_remedy(tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text(HIDING)
    hidden = environment(PYTHONPATH=str(tmp_path / "hidden"))
    done = snakemake(tmp_path / "run", "all", config=EXPLORED, env=hidden)

    assert done.returncode != 0
    told = "explorer = true: this needs the package panel, which is not installed; pip install "
    assert f"unitlens: {told}'unitlens[explore]' installs it; explorer: false" in done.stderr
    assert not (tmp_path / "run/results").exists()
    without = snakemake(tmp_path / "run", "--dry-run", "all", env=hidden)
    assert without.returncode == 0, without.stderr
