"""Progress of long computations: a bar on a terminal, a line in a notebook, else lines in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

logger = logging.getLogger("unitlens")

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 0.5  # of the line in a notebook, which quick work never shows

Item = TypeVar("Item")


def track(items: Iterable[Item], description: str, *, total: int | None = None) -> Iterator[Item]:
    """Iterate over items and show the progress on standard error or in the log.

    A terminal has a bar, a notebook one line that changes. Both go when the work is done.

    Parameters
    ----------
    items
        Items to iterate over.
    description
        Text of the bar or log line, such as ``epochs``.
    total
        Number of items; ``len(items)`` if None and `items` has a length.

    Yields
    ------
    The items, one by one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from _bar(items, description, total)
    elif in_notebook():
        yield from _changing_line(items, description, total)
    else:
        yield from _lines(items, description, total)


def tell(message: str) -> None:
    """Tell whoever looks at a terminal or a notebook what takes time, and the log otherwise.

    Parameters
    ----------
    message
        One line.
    """
    if sys.stderr.isatty() or in_notebook():
        _write(f"unitlens: {message}\n")
    else:
        logger.info("%s", message)


def in_notebook() -> bool:
    """Tell whether standard error is shown by a notebook."""
    return type(sys.stderr).__module__.partition(".")[0] in ("ipykernel", "google")


def _bar(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(items, description, total=total, console=console, transient=True)


def _changing_line(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    start = last_update = time.monotonic()
    of_total = "" if total is None else f" of {total}"
    shown = 0
    try:
        for number, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - last_update >= SECONDS_BETWEEN_UPDATES:
                line = f"{description}: {number}{of_total}, {now - start:.0f} s"
                _write(f"\r{line:<{shown}}")
                shown, last_update = max(shown, len(line)), now
    finally:
        if shown:
            _write(f"\r{'':<{shown}}\r")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _lines(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    start = last_line = time.monotonic()
    of_total = "" if total is None else f" of {total}"
    for number, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES:
            logger.info("%s: %d%s, %.0f s", description, number, of_total, now - start)
            last_line = now
