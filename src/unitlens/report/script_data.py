"""Plain values inside a script element of the page."""

import json
from typing import Any

# How a page states what it was made from.
PROVENANCE = '<script type="application/json" id="provenance">{}</script>'


def script_json(values: Any) -> str:
    r"""Return plain values as JSON that no script element ends within.

    Examples
    --------
    >>> print(script_json({"name": "</script>"}))
    {"name":"\u003c/script>"}
    """
    text = json.dumps(values, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c")
