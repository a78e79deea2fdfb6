"""Text in the explorer: names and messages are shown as they are, never as markup."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from panel.pane import Str

_FONT = "font-family: 'DejaVu Sans', Arial, Helvetica, sans-serif"
_LINE = f"pre {{ {_FONT}; font-size: 14px; white-space: pre-wrap; margin: 0; }}"
_HEADING = f"pre {{ {_FONT}; font-size: 18px; font-weight: bold; white-space: pre-wrap; margin: 0; }}"


def text_line(text: str) -> "Str":
    """Return a pane that shows a text as it is.

    Parameters
    ----------
    text
        The text; its markup is shown, not rendered.
    """
    from panel.pane import Str

    return Str(text, stylesheets=[_LINE], sizing_mode="stretch_width", margin=(4, 10))


def heading(text: str) -> "Str":
    """Return a pane that shows a text as it is, in the size of a heading.

    Parameters
    ----------
    text
        The text; its markup is shown, not rendered.
    """
    from panel.pane import Str

    return Str(text, stylesheets=[_HEADING], sizing_mode="stretch_width", margin=(10, 10, 4, 10))
