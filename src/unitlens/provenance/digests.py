"""Digests of the code that the rules of the workflow compute with."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from unitlens.provenance.kept_values import kept_value
from unitlens.provenance.same_results import SAME_RESULTS
from unitlens.provenance.source import (
    Symbol,
    define,
    is_module,
    names_in,
)

COMMANDS = "unitlens.cli"

# Modules that only declare, speak or guard. What they say reaches a rule as its parameters, shows
# in its log, or keeps a job from running: no number of a finished job depends on it.
NEUTRAL = (
    "unitlens.cli.job",
    "unitlens.cli.scheduler",
    "unitlens.catalogue.datasets",
    "unitlens.config",
    "unitlens.errors",
    "unitlens.extras",
    "unitlens.progress",
    "unitlens.provenance",
    "unitlens.store.format.store_estimate",
    "unitlens.store.backend.lease",
    "unitlens.store.backend.lock",
    "unitlens.store.former_stores",
    "unitlens.store.located",
    "unitlens.store.verify",
    "unitlens.variables",
)


@cache
def code_digest(*commands: str) -> str:
    """Return a digest of the code that subcommands compute with.

    The digest covers the definition of each subcommand and all definitions of unitlens that it
    uses, directly or not. Comments, docstrings, annotations, log messages, texts of errors, the
    places of definitions and the modules of :data:`NEUTRAL` change nothing. Code that
    :data:`~unitlens.provenance.same_results.SAME_RESULTS` names has the digest of the code before.

    Parameters
    ----------
    commands
        Names of subcommands, as their functions are called in :mod:`unitlens.cli`.

    Returns
    -------
    Twelve hexadecimal digits.

    Examples
    --------
    >>> code_digest("unit_measures") == code_digest("unit_measures")
    True
    >>> code_digest("unit_measures") == code_digest("unit_ablation")
    False
    """
    digest = kept_value("code of " + " ".join(commands), lambda: digest_as_written(*commands))
    return SAME_RESULTS.get(digest, digest)


def digest_as_written(*commands: str) -> str:
    """Return the digest of the code of subcommands, also where it is known to change no result.

    Parameters
    ----------
    commands
        Names of subcommands.
    """
    return _digest(set().union(*(reached_symbols(command) for command in commands)))


@cache
def function_digest(module: str, name: str) -> str:
    """Return a digest of the code that a function of the package computes with.

    Parameters
    ----------
    module, name
        Names of the function and of its module.

    Returns
    -------
    Twelve hexadecimal digits, as of :func:`code_digest`.

    Examples
    --------
    >>> ablation = "unitlens.perturbation.unit_ablation"
    >>> function_digest(ablation, "unit_ablation") == code_digest("unit_ablation")
    False
    """
    return _digest(_reached_from(Symbol(module, name)))


def _digest(symbols: Iterable[Symbol]) -> str:
    defined = [(symbol.name, define(symbol).text) for symbol in symbols]
    texts = sorted({f"{name}\0{text}" for name, text in defined if text})
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


@cache
def reached_symbols(command: str) -> frozenset[Symbol]:
    """Return the symbols of the package that a subcommand uses, directly or not.

    Parameters
    ----------
    command
        Name of the function of a subcommand.

    Raises
    ------
    LookupError
        Where there is no such subcommand.
    """
    return _reached_from(_find_command(command))


def _reached_from(symbol: Symbol) -> frozenset[Symbol]:
    reached = {symbol}
    waiting = list(reached)
    while waiting:
        new = {symbol for symbol in define(waiting.pop()).uses if not _is_neutral(symbol)}
        waiting += new - reached
        reached |= new
    return frozenset(reached)


def _find_command(name: str) -> Symbol:
    for module in command_modules():
        if name in names_in(module):
            return Symbol(module, name)
    raise LookupError(f"no subcommand of {COMMANDS} is called {name!r}")


def command_modules() -> list[str]:
    """Return the names of the modules in which subcommands are defined."""
    folder = Path(__file__).parents[1] / "cli"
    names = sorted(f"{COMMANDS}.{file.stem}" for file in folder.glob("*.py"))
    return [name for name in names if is_module(name) and "COMMANDS" in names_in(name)]


def _is_neutral(symbol: Symbol) -> bool:
    return any(
        symbol.module == name or symbol.module.startswith(f"{name}.") for name in NEUTRAL
    ) or (symbol.module in ("unitlens.cli", "unitlens"))
