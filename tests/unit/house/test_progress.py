"""Progress passes the items through; in a log it is plain lines."""

import logging

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
