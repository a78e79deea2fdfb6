"""Progress of long computations: a bar on a terminal, plain lines in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

logger = logging.getLogger("unitlens")

SECONDS_BETWEEN_LINES = 10.0

Item = TypeVar("Item")


def track(items: Iterable[Item], description: str, *, total: int | None = None) -> Iterator[Item]:
    """Iterate over items and show the progress on standard error or in the log.

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
    else:
        yield from _lines(items, description, total)


def _bar(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(items, description, total=total, console=console, transient=True)


def _lines(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    start = last_line = time.monotonic()
    of_total = "" if total is None else f" of {total}"
    for number, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES:
            logger.info("%s: %d%s, %.0f s", description, number, of_total, now - start)
            last_line = now
