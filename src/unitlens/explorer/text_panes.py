"""Text in the explorer: names and messages are shown as they are, never as markup."""

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from unitlens.errors import UnitlensError

if TYPE_CHECKING:
    from panel.layout import FlexBox
    from panel.pane import HTML, Str

_FONT = "font-family: 'DejaVu Sans', Arial, Helvetica, sans-serif"
_LINE = f"pre {{ {_FONT}; font-size: 14px; white-space: pre-wrap; margin: 0; }}"


def as_text(text: str) -> str:
    """Return what Panel shows as this text, in a ``Str`` pane or as a title of a table.

    Parameters
    ----------
    text
        The text. Panel renders the markup of a text in both places.

    Examples
    --------
    >>> as_text("a < b")
    'a &lt; b'
    """
    return escape(text, quote=False)


def text_line(text: str) -> "Str":
    """Return a pane that shows a text as it is.

    Parameters
    ----------
    text
        The text; its markup is shown, not rendered. ``.object = as_text(...)`` sets another.
    """
    from panel.pane import Str

    return Str(as_text(text), stylesheets=[_LINE], sizing_mode="stretch_width", margin=(4, 10))


def heading(text: str, level: int = 2) -> "HTML":
    """Return a pane with a heading that shows a text as it is.

    Parameters
    ----------
    text
        The text; its markup is shown, not rendered.
    level
        1 for the title of the page, 2 for its parts.
    """
    from panel.pane import HTML

    style = f"{_FONT};font-size:18px;font-weight:bold;margin:0;white-space:pre-wrap".replace(
        "'", "&quot;"
    )
    return HTML(
        f"<h{level} style='{style}'>{escape(text)}</h{level}>",
        sizing_mode="stretch_width",
        margin=(10, 10, 4, 10),
    )


def titled_part(title: str, make: Callable[[], list[Any]]) -> list[Any]:
    """Return a heading and what is under it, or the line that says why there is nothing.

    Parameters
    ----------
    title
        The heading.
    make
        Makes what is under the heading.
    """
    from panel.layout import FlexBox

    try:
        made = make()
    except UnitlensError as error:
        made = [text_line(str(error))]
    return [heading(title), FlexBox(*made)]


def colour_key(title: str, colours: Mapping[str, str]) -> "FlexBox":
    """Return a key that tells what colours stand for.

    Parameters
    ----------
    title
        Words for what the colours tell.
    colours
        The colour of each name, such as ``#0072B2``.
    """
    from panel.layout import FlexBox, Row, Spacer
    from panel.pane import Str

    def word(text: str) -> Str:
        return Str(as_text(text), stylesheets=[_LINE], margin=(0, 14, 0, 4))

    marks = [
        Row(
            Spacer(
                width=14, height=14, margin=(2, 0), styles={"background": colour}, align="center"
            ),
            word(name),
        )
        for name, colour in colours.items()
    ]
    return FlexBox(word(f"{title}:"), *marks, margin=(2, 6))
