"""The errors of unitlens, and the parts of their messages.

A message is one line that names the thing, its value, the rule and the remedy.
"""

import difflib
import unicodedata
from collections.abc import Iterable

SHOWN = 200  # characters of a value in a message
LINE = 1000  # characters of a message about the configuration
_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, surrogates, separators of lines
_UNSAFE_FORMATS = {*"\u061c\u200e\u200f\ufeff"} | {
    chr(code) for block in (range(0x202A, 0x202F), range(0x2066, 0x206A)) for code in block
}


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


class UnitsWarning(UserWarning):
    """Some units of a network are not among its layers, and the reason."""


class StoreError(UnitlensError):
    """An activation store is incomplete, damaged, locked, or of another run."""


class HeldStoreError(StoreError):
    """Another process writes the same store, network or set of tables now."""


class TableError(UnitlensError, ValueError):
    """A table lacks a variable, has wrong dimensions, or belongs to another schema."""


class SavedSumsError(UnitlensError):
    """The saved sums of an unfinished call are damaged, or those of another call."""


class MissingTableError(TableError):
    """A table was not made, since nothing in the configuration asked for its measurement."""


class MissingPackageError(UnitlensError, ImportError):
    """A package that an extra of the installation brings is not installed."""


class UsedUpMemoryError(UnitlensError, MemoryError):
    """The memory of the processor or of a GPU is used up.

    Attributes
    ----------
    memory_gb
        The limit in gigabytes that the call had; None where it had none.
    """

    memory_gb: float | None = None


class ScoreWarning(UserWarning):
    """The loss of a result is not what it is called, since the network puts out no logits."""


class RepeatabilityWarning(UserWarning):
    """A network or a data set gives other numbers when it is asked again."""


def printable(text: object) -> str:
    r"""Return a text as one line that is safe for a terminal.

    Control characters, line breaks and characters that turn the direction of writing are shown as
    escapes.

    Parameters
    ----------
    text
        The text, or what is told by its text, such as an error.

    Examples
    --------
    >>> print(printable("a\x1b[2J\nb\u202e"))
    a\x1b[2J\x0ab\u202e
    """
    return "".join(map(_printable_character, str(text)))


def _printable_character(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE and character not in _UNSAFE_FORMATS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def cut(text: str, length: int = SHOWN) -> str:
    """Return a text of at most `length` characters, with dots at the end where it was longer.

    Parameters
    ----------
    text
        The text.
    length
        Largest number of characters.

    Examples
    --------
    >>> cut("123456789", 8)
    '12345...'
    """
    return text if len(text) <= length else f"{text[: length - 3]}..."


def shown(value: object) -> str:
    r"""Return a value as a message shows it: one line of at most 200 printable characters.

    Parameters
    ----------
    value
        Any value.

    Examples
    --------
    >>> print(shown("a\x1b"))
    'a\x1b'
    >>> len(shown("x" * 1000))
    200
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of too many digits, too many brackets
        text = f"a value of type {type(value).__name__}"
    return cut(printable(text))


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
    close = difflib.get_close_matches(name[:SHOWN], names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"known: {', '.join(names[:12])}{more}" if names else "there is none"


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
    return (lines[0] if lines else type(error).__name__)[:SHOWN]
