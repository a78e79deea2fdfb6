"""The small parts of a unit's page: a button to a unit, a line, a heading."""

from collections.abc import Callable
from html import escape
from typing import Any

OnUnit = Callable[[str, int], None]


def unit_button(name: str, layer: str, channel: int | None, go: OnUnit) -> Any:
    """Return a button that leads to a unit; it is disabled where there is none."""
    import panel as pn

    button = pn.widgets.Button(label=name, disabled=channel is None)
    if channel is not None:
        button.on_click(lambda _event: go(layer, channel))
    return button


def note(text: str) -> Any:
    """Return a pane of one line that says what is missing or doubtful."""
    import panel as pn

    style = "border-left:3px solid #E69F00;padding-left:8px"
    return pn.pane.HTML(f"<div style='{style}'>{escape(text)}</div>", sizing_mode="stretch_width")


def small_line(text: str) -> Any:
    """Return a pane of one line in small letters that explains what is below it."""
    import panel as pn

    line = f"<small>{escape(text)}</small>"
    return pn.pane.HTML(line, sizing_mode="stretch_width", margin=(0, 10))


def section_heading(text: str) -> Any:
    """Return a pane with the heading of a part of the page."""
    import panel as pn

    return pn.pane.HTML(heading_markup(text))


def heading_markup(text: str) -> str:
    """Return the heading of a part of the page as HTML, in which the text is text."""
    return f"<h3 style='margin:12px 0 0'>{escape(text)}</h3>"
