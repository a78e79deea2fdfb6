"""The error tree: every error names the thing, its value, the rule and the remedy."""

import difflib
from collections.abc import Iterable


class UnitlensError(Exception):
    """Root of every error that unitlens raises on purpose; its text is one line."""


class ArgumentError(UnitlensError, ValueError):
    """An argument of a public function breaks its rule."""


class ConfigError(UnitlensError, ValueError):
    """A key of the configuration is unknown or its value breaks a rule."""


class DatasetError(UnitlensError):
    """A data set is missing, incomplete, or not of the expected form."""


class ModelError(UnitlensError):
    """A network cannot be built, loaded, traced or trained."""


class LayerError(UnitlensError, KeyError):
    """A layer was asked for that the network does not have."""

    def __str__(self) -> str:
        """Return the message itself, not KeyError's quoted form."""
        return str(self.args[0])


class StoreError(UnitlensError):
    """An activation store is incomplete, damaged, locked, or of another run."""


class TableError(UnitlensError, ValueError):
    """A table lacks a variable, has wrong dimensions, or belongs to another schema."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the known names nearest to `name`, for the end of a message.

    Examples
    --------
    >>> nearest("selectivty", ["selectivity", "variance"])
    "did you mean 'selectivity'?"
    >>> nearest("x", ["selectivity", "variance"])
    'known: selectivity, variance'
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"known: {shown}" if names else "there is none"
