"""The documentation site builds without a warning, its links lead somewhere, it asks no network."""

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import unitlens

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.places = [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places.update(filter(None, (given.get("id"), given.get("name"))))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(LOADED.get(tag)):
            self.loaded.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site; the tutorials that train longest are run by `make docs` alone, in CI."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", "-b", "html"]
    done = subprocess.run(
        [*command, "-t", "quick", "-d", folder / "doctrees", "docs", folder / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    """All pages; the theme leaves a template among its own files."""
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_links__lead_to_a_file_and_to_a_place_in_it(site, pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append((str(path.relative_to(site)), link))
            elif parts.fragment and target in pages:
                place = unquote(parts.fragment)
                if place not in pages[target].places:
                    broken.append((str(path.relative_to(site)), link))

    assert sum(len(page.links) for page in pages.values()) > 1000
    assert not broken


def test_pages__load_nothing_but_files_of_the_site(site, pages):
    for path, page in pages.items():
        for loaded in page.loaded:
            parts = urlsplit(loaded)
            if parts.scheme == "data" or loaded == "#":
                continue
            assert (parts.scheme, parts.netloc) == ("", ""), (path, loaded)
            assert (path.parent / unquote(parts.path)).is_file(), (path, loaded)
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text()), style


def test_api_reference__has_a_page_of_every_public_name_with_an_example(site):
    names = {name: getattr(unitlens, name) for name in unitlens.__all__}
    names |= {f"plot.{name}": getattr(unitlens.plot, name) for name in unitlens.plot.__all__}
    assert len(names) >= 50
    for name, value in names.items():
        page = (site / "api" / "generated" / f"unitlens.{name}.html").read_text()
        if inspect.isfunction(value):  # the examples run as doctests
            assert ">Examples<" in page, name
            assert "&gt;&gt;&gt; " in page, name


def test_tutorials__show_what_came_out(site):
    shown = (site / "tutorials" / "own-network.html").read_text()

    accuracy = float(re.search(r"test accuracy: (\.?[\d.]+)", shown)[1])
    assert accuracy > 0.85
    assert shown.count("<img") >= 2
    assert "Traceback" not in shown


def test_texts_of_the_repository__stand_on_their_pages(site):
    cluster = (site / "start" / "cluster.html").read_text()

    assert "--workflow-profile" in cluster
    assert 'href="../scale.html#on-a-dask-cluster-that-is-there"' in cluster
    assert "0.10.1" in (site / "changes.html").read_text()
