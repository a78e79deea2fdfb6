"""Time the explorer in Chromium: from its start to its page, and from a click to what it shows.

    python benchmarks/explorer.py --folder DIR [--units 1000000] [--gigabytes 20] [--json FILE]
    python benchmarks/explorer.py --folder results --existing

The first makes a synthetic results folder in DIR, unless one is there (see large_results.py), and
measures the explorer on it; DIR is not removed. The second measures a results folder of the
workflow. Seconds are those until the page shows what was asked for. "Cold" means that no file of
the results is in the page cache. Bytes are those that the server read for one action, from files
and from the page cache alike.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

import unitlens as ul
from large_results import Size, make_folder

CHROMIUM = "/usr/bin/chromium"
WAIT = 120_000  # milliseconds


@dataclass(frozen=True)
class Row:
    """What one action took.

    Attributes
    ----------
    action
        What was done.
    seconds
        Until the page showed the result.
    work
        Seconds that the processor worked for the server meanwhile.
    megabytes
        10^6 bytes that the server read meanwhile.
    """

    action: str
    seconds: float
    work: float
    megabytes: float


class Server:
    """A running ``unitlens explore``."""

    def __init__(self, folder):
        command = [sys.executable, "-m", "unitlens", "explore", str(folder), "--no-open"]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True
        )
        self.address = self._process.stdout.readline().split()[0]

    def stop(self):
        with self._process:  # its pipe is closed too
            self._process.terminate()

    def _number(self, file, key):
        text = Path(f"/proc/{self._process.pid}/{file}").read_text()
        return int(re.search(rf"{key}:\s+(\d+)", text)[1])

    @property
    def read(self):
        """Bytes that were read since the start."""
        return self._number("io", "rchar")

    @property
    def work(self):
        """Seconds of a processor since the start, of all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self):
        """Largest resident memory since the start, in MiB."""
        return self._number("status", "VmHWM") / 1024


@contextmanager
def serving(folder):
    """Serve a folder."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


def leave_cache(folder):
    """Take the files of a folder out of the page cache (Linux)."""
    os.sync()
    for path in Path(folder).rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


class Visit:
    """A page of the explorer, and what was done on it."""

    def __init__(self, page, server):
        self.page, self._server = page, server
        self.rows = []
        page.set_default_timeout(WAIT)

    @contextmanager
    def timed(self, action):
        """Note how long an action takes, and what the server reads for it."""
        server = self._server
        start, work, read = time.perf_counter(), server.work, server.read
        yield
        taken = time.perf_counter() - start
        self.rows.append(Row(action, taken, server.work - work, (server.read - read) / 1e6))

    def overview(self):
        """Open the page, up to its drawn points."""
        self.page.goto(self._server.address)
        self.page.get_by_text("units are drawn").wait_for()
        self.page.locator(".bk-Figure").nth(1).wait_for()
        self.page.locator(".tabulator-row").first.wait_for()

    def colour_by_run(self):
        """Draw the points in the colours of their runs."""
        with self._new_table():
            self.page.get_by_label("colour", exact=True).select_option("run")
            self.page.get_by_text("run:", exact=True).wait_for()

    @contextmanager
    def _new_table(self):
        """Wait until the table of the selection is made anew, which is the last part."""
        former = self.page.locator(".tabulator-row").first.element_handle()
        yield
        former.wait_for_element_state("hidden")
        self.page.locator(".tabulator-row").first.wait_for()

    def select_box(self):
        """Select the units of a box."""
        self.page.locator(".bk-tool-icon-box-select").first.click()
        box = self.page.locator(".bk-Figure").nth(1).bounding_box()
        left, top = box["x"], box["y"]
        self.page.mouse.move(left + 0.5 * box["width"], top + 0.1 * box["height"])
        self.page.mouse.down()
        self.page.mouse.move(left + 0.9 * box["width"], top + 0.8 * box["height"], steps=4)
        with self._new_table():
            self.page.mouse.up()
            self.page.get_by_text("units are selected").wait_for()

    def first_unit(self):
        """Click on the first row of the table."""
        self.page.locator(".tabulator-row").first.locator(".tabulator-cell:visible").nth(1).click()
        self._whole()

    def next_unit(self):
        """Step to the next unit of the layer."""
        before = self._title()
        self.page.get_by_text("Next →").click()
        self._whole(other_than=before)

    def unit(self, run, layer, channel):
        """Choose a unit in the lists of the tab."""
        if self._title() == (run.name, f"{layer} · unit {channel}"):
            return
        self.page.get_by_label("run", exact=True).select_option(index=run.place)
        self.page.get_by_label("layer", exact=True).select_option(layer)
        box = self.page.get_by_label("channel", exact=True)
        box.fill(str(channel))
        box.press("Enter")
        before = self._title()
        self.page.get_by_text("Show", exact=True).click()
        self._whole(other_than=before)

    def _title(self):
        """Return the run and the name of the unit that is shown; nothing before the first."""
        head = self.page.locator("div:has(> h2)").filter(has_text=" · unit ")
        return tuple(head.first.inner_text().splitlines()[:2]) if head.count() else ()

    def _whole(self, other_than=()):
        """Wait until the page of another unit is there; all its parts come at once."""
        end = time.perf_counter() + WAIT / 1000
        while self._title() in ((), other_than):
            self.page.wait_for_timeout(5)
            if time.perf_counter() > end:
                raise TimeoutError(f"no other unit than {other_than!r} is shown")
        self.page.get_by_text("Place in its layer", exact=True).wait_for()

    def sample(self):
        """Open the tab of a sample."""
        self.page.get_by_text("Sample", exact=True).click()
        self.page.get_by_text(re.compile(r"^sample 0, ")).first.wait_for()

    def another_sample(self):
        """Show another sample."""
        box = self.page.get_by_label("sample", exact=True)
        box.fill("7")
        box.press("Enter")
        self.page.get_by_text(re.compile(r"^sample 7, ")).first.wait_for()

    def runs(self):
        """Open the tab of layers and runs."""
        self.page.get_by_text("Layers and runs", exact=True).click()
        self.page.get_by_text("The runs side by side").wait_for()


def measure_object(folder):
    """Measure ``ul.explore(results)`` alone, in a process of its own that has its imports."""
    script = (
        "import time, sys, panel, holoviews, datashader, unitlens as ul\n"
        "start, work = time.perf_counter(), time.process_time()\n"
        "ul.explore(ul.open_results(sys.argv[1]))\n"
        "print(time.perf_counter() - start, time.process_time() - work)\n"
    )
    line = [sys.executable, "-c", script, str(folder)]
    told = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    taken, work = map(float, told.split()[-2:])
    return Row("the object alone, imports done", taken, work, 0.0)


@dataclass(frozen=True)
class Run:
    """A run with a store: its place among all runs, its name and its layers."""

    place: int
    name: str
    layers: tuple[str, ...]


def stored_runs(folder):
    """Return the first two runs that have a store, or the one that there is twice."""
    results = ul.open_results(folder)
    runs = []
    for place, name in enumerate(map(str, results.runs["run"].values)):
        if (Path(folder) / name / "test" / "activations.zarr").exists():
            layers = dict.fromkeys(results.units.sel(run=name)["layer"].values)
            runs.append(Run(place, name, tuple(layers)))
    return runs[0], runs[min(1, len(runs) - 1)]


def measure(folder):
    """Measure the explorer on a folder.

    Parameters
    ----------
    folder
        The results folder.

    Returns
    -------
    Rows, and the largest resident memory of the server in MiB.
    """
    first, other = stored_runs(folder)
    rows = [measure_object(folder)]
    start = time.perf_counter()
    with sync_playwright() as playwright, serving(folder) as server:
        taken = time.perf_counter() - start
        told = "start of the process to its address"
        rows.append(Row(told, taken, server.work, server.read / 1e6))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        visit = Visit(browser.new_page(viewport={"width": 1300, "height": 950}), server)
        with visit.timed("address to overview drawn"):
            visit.overview()
        with visit.timed("box selection"):
            visit.select_box()
        with visit.timed("colours by run"):
            visit.colour_by_run()
        with visit.timed("click to the first unit's page"):
            visit.first_unit()
        for depth, layer in (("first", first.layers[0]), ("last", first.layers[-1])):
            visit.unit(first, layer, 0)
            with visit.timed(f"next unit of the {depth} layer, warm"):
                visit.next_unit()
            leave_cache(folder)
            with visit.timed(f"next unit of the {depth} layer, cold"):
                visit.next_unit()
        leave_cache(folder)
        with visit.timed("unit of another run, cold"):
            visit.unit(other, other.layers[-1], 1)
        leave_cache(folder)
        with visit.timed("tab of a sample, cold"):
            visit.sample()
        with visit.timed("another sample"):
            visit.another_sample()
        with visit.timed("tab of layers and runs"):
            visit.runs()
        memory = server.memory
        browser.close()
    return [*rows, *visit.rows], memory


def table(rows, memory):
    """Return the rows as a table in Markdown."""
    lines = ["| action | s | processor s | MB read |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row.action} | {row.seconds:.2f} | {row.work:.2f} | {row.megabytes:,.1f} |"
        for row in rows
    ]
    return "\n".join([*lines, f"| largest resident memory: {memory:,.0f} MiB | | | |"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--existing", action="store_true", help="take the folder as it is")
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not given.existing:
        make_folder(given.folder, Size(given.units, given.gigabytes))
    rows, memory = measure(given.folder)
    if given.json:
        values = {"rows": [vars(row) for row in rows], "memory_mib": memory}
        given.json.write_text(json.dumps(values, indent=1))
    print(table(rows, memory))


if __name__ == "__main__":
    main()
