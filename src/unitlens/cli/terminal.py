"""What subcommands print, safe for a terminal."""

import sys

from unitlens.errors import printable


def say(text: object, *, to_errors: bool = False) -> None:
    """Print a text; of its control characters, only line breaks are left as they are.

    Parameters
    ----------
    text
        The text, or what is told by its text.
    to_errors
        Whether the text goes to the stream of errors.
    """
    stream = sys.stderr if to_errors else sys.stdout
    print(printable_lines(str(text)), file=stream, flush=True)


def printable_lines(text: str) -> str:
    r"""Return a text whose lines are safe for a terminal.

    Parameters
    ----------
    text
        The text.

    Examples
    --------
    >>> print(printable_lines("a\x07\nb"))
    a\x07
    b
    """
    return "\n".join(map(printable, text.split("\n")))
