"""The errors of unitlens, and the parts of their messages.

A message is one line that names the thing, its value, the rule and the remedy.
"""

import difflib
from collections.abc import Iterable


class UnitlensError(Exception):
    """The base of all errors that unitlens raises on purpose. The message is one line."""


class ArgumentError(UnitlensError, ValueError):
    """An argument of a public function breaks its rule."""


class ConfigError(UnitlensError, ValueError):
    """A key of the configuration is unknown or its value breaks a rule."""


class DatasetError(UnitlensError):
    """A data set is missing, incomplete, or not of the expected form."""


class ModelError(UnitlensError):
    """A network cannot be built, loaded, traced or trained."""


class LayerError(UnitlensError, KeyError):
    """The network does not have the layer that was asked for."""

    def __str__(self) -> str:
        """Return the message without the quotation marks that KeyError adds."""
        return str(self.args[0])


class StoreError(UnitlensError):
    """An activation store is incomplete, damaged, locked, or of another run."""


class TableError(UnitlensError, ValueError):
    """A table lacks a variable, has wrong dimensions, or belongs to another schema."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for the end of a message: the known names that are nearest to a name.

    Parameters
    ----------
    name
        The unknown name.
    known
        All known names.

    Returns
    -------
    Up to three similar names; without a similar name, the first twelve known names.

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


def one_line(error: BaseException) -> str:
    r"""Return the text of an exception on one line, or the name of its class where it has none.

    Examples
    --------
    >>> one_line(OSError("disk\nfull"))
    'disk full'
    >>> one_line(EOFError())
    'EOFError'
    """
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, up to 200 characters.

    The texts of PyTorch's exceptions go on for many lines. Without a text it is the name of the
    exception's class.
    """
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
