"""Warnings that name the line of the user's code that called unitlens."""

import sys
import warnings
from collections.abc import Iterable, Mapping

from unitlens.errors import RepeatabilityWarning

_OURS = ("unitlens", "contextlib")


def warn_caller(message: str, kind: type[Warning]) -> None:
    """Warn at the innermost line that is no code of unitlens.

    Parameters
    ----------
    message
        The message.
    kind
        Class of the warning.
    """
    level, frame = 1, sys._getframe()  # noqa: SLF001  warnings itself counts frames in this way
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, kind, stacklevel=level)


def warn_of_doubts(doubts: Iterable[str], remedies: Mapping[str, str]) -> None:
    """Warn of each thing that makes numbers doubtful, with its remedy.

    Parameters
    ----------
    doubts
        What makes the numbers doubtful, in words.
    remedies
        The remedy of each, in words.
    """
    for doubt in doubts:
        warn_caller(f"{doubt}; {remedies[doubt]}", RepeatabilityWarning)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS
