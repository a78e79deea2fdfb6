"""Progress passes the items through; in a log it is plain lines."""

import io
import logging
import os
import subprocess
import sys

import numba
import pytest

from unitlens import progress


def test_track__passes_the_items_through():
    assert list(progress.track(range(3), "counting")) == [0, 1, 2]


def test_track__writes_plain_lines_without_a_terminal(monkeypatch, caplog):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, logger="unitlens"):
        list(progress.track(iter("ab"), "reading", total=2))

    assert [record.message[:16] for record in caplog.records] == [
        "reading: 1 of 2,",
        "reading: 2 of 2,",
    ]


def test_track__draws_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    assert list(progress.track(range(3), "counting")) == [0, 1, 2]


class NotebookStream(io.StringIO):
    """Stands for the standard error of a notebook, by the module of its class."""

    __module__ = "ipykernel.iostream"


def test_track__changes_one_line_in_a_notebook(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_UPDATES", 0.0)
    monkeypatch.setattr(sys, "stderr", NotebookStream())

    assert list(progress.track(range(3), "counting")) == [0, 1, 2]

    lines = sys.stderr.getvalue().split("\r")
    assert [line.strip() for line in lines] == [
        "", "counting: 1 of 3, 0 s", "counting: 2 of 3, 0 s", "counting: 3 of 3, 0 s", "", "",
    ]  # fmt: skip


def test_track__of_quick_work_shows_nothing_in_a_notebook(monkeypatch):
    monkeypatch.setattr(sys, "stderr", NotebookStream())
    list(progress.track(range(3), "counting"))
    assert sys.stderr.getvalue() == ""


COMPILING = """
import sys
sys.stderr.isatty = lambda: True
from unitlens.perturbation.engine.fused_kernels import _exp
assert abs(_exp(0.0) - 1) < 1e-6
"""


@pytest.mark.slow
def test_compilation__is_told_once_and_kept(tmp_path):
    (tmp_path / "own.py").write_text(COMPILING)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    told = [
        subprocess.run(
            [sys.executable, "own.py"], cwd=tmp_path, env=environment, capture_output=True,
            text=True, check=True,
        ).stderr
        for _ in range(2)
    ]  # fmt: skip
    assert told[0].count("compiling numerical functions takes up to 20 s, once") == 1
    assert told[1] == ""


def test_compilation__of_a_function_without_a_module_is_left_alone(monkeypatch):
    from unitlens import compilation

    monkeypatch.setattr(compilation, "_told", [])
    names = {}
    exec("def double(x):\n    return 2 * x", names)  # as Datashader makes functions
    names["double"].__module__ = None

    assert numba.njit(names["double"])(21) == 42
    assert compilation._told == []
