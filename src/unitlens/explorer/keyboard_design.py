"""How the explorer looks to those who use the keyboard or a screen reader."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panel.viewable import Viewable

# Panel's own mark is a grey dotted line of one pixel.
_FOCUS = (
    ":focus-visible { outline: 3px solid #0072B2 !important; outline-offset: -2px; "
    "box-shadow: none !important; }"
    # A design of its own leaves buttons without a look.
    " .bk-btn-default { background-color: #F3F3F3 !important; "
    "border: 1px solid #C4C4C4 !important; }"
    " .bk-btn-default.bk-active { background-color: #D9D9D9 !important; }"
)


@cache
def _keyboard_design() -> Any:
    """Return Panel's own design, in which what has the keyboard's focus is plainly marked."""
    from panel.theme import Inherit
    from panel.theme.native import Native
    from panel.viewable import Viewable

    modifiers: dict[Any, Any] = {Viewable: {"stylesheets": [Inherit, _FOCUS]}}
    return type("KeyboardDesign", (Native,), {"modifiers": modifiers})()


def with_focus_marked(view: "Viewable") -> "Viewable":
    """Return a view in which what has the keyboard's focus is plainly marked.

    Other objects of Panel stay as they are: a notebook may show some beside the view.

    Parameters
    ----------
    view
        The view. Parts that are added to it later are marked too.
    """
    import panel as pn

    # Panel's templates apply a design to all that they hold by this hook.
    hook = _keyboard_design()._apply_hooks  # noqa: SLF001  (it has no public name)
    return pn.Column(view, hooks=[hook], margin=0, sizing_mode="stretch_width")


def described(words: str) -> Any:
    """Return a hook of HoloViews that tells a screen reader what a plot shows.

    Parameters
    ----------
    words
        What the plot shows.
    """

    def describe(plot: Any, _: Any) -> None:
        describe_chart(plot.state, words)

    return describe


def describe_chart(chart: Any, words: str) -> None:
    """Tell a screen reader what a chart of Bokeh shows.

    Parameters
    ----------
    chart
        The chart.
    words
        What the chart shows.
    """
    chart.html_attributes = {"role": "img", "aria-label": words}
