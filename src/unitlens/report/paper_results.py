"""The paper's results beside each figure, in a sentence with the numbers of the claims."""

import re
from collections.abc import Sequence

from unitlens.report.words import PAPER_TEMPLATES
from unitlens.reproduction.claim_types import (
    READING_ERROR,
    Claim,
    ClaimGroup,
    ReportedNumber,
    ReportedOrder,
    ReportedSign,
)
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.paper_values import (
    ABLATED_MAPS,
    BEST_ERROR,
    DROPOUTS,
    LEVELS,
    MNIST_P_VALUE,
    SETTINGS_IN_HALF,
    WITH_BATCH_NORM,
    WITHOUT_BATCH_NORM,
    WORST_ERROR,
)
from unitlens.reproduction.protocol import MAPS


def _decimal(value: float) -> str:
    """Return a number without the zero before its point, as the captions have it.

    Examples
    --------
    >>> _decimal(-0.428), _decimal(1.9)
    ('-.428', '1.9')
    """
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:g}")


def _listing(values: Sequence[float]) -> str:
    """Return numbers with commas and a last "and".

    Examples
    --------
    >>> _listing([0.1, 0.2, 1200])
    '.1, .2 and 1,200'
    """
    texts = [f"{value:,}" if value > 1 else _decimal(value) for value in values]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _finding_text(claim: Claim) -> str:
    finding = claim.finding
    if isinstance(finding, ReportedSign):
        return finding.text
    if isinstance(finding, ReportedNumber):
        return finding.text or _decimal(finding.value)
    if isinstance(finding, ReportedOrder) and finding.values:
        return _listing(finding.values)
    return ""


def _group_texts(group: ClaimGroup) -> dict[str, str]:
    """Return the findings of a group by claim, with numbers of its protocol."""
    texts = {claim.name: _finding_text(claim) for claim in group.claims}
    if group.protocol is not None:
        texts["networks"] = f"{group.protocol.networks:,}"
        texts["width"] = f"{max(group.protocol.widths, default=0):,}"
    return texts


_NUMBERS = {
    "reading_error": _decimal(READING_ERROR),
    "levels": _listing(LEVELS),
    "dropouts": _listing(DROPOUTS),
    "ablated_maps": _listing(ABLATED_MAPS),
    "maps": f"{MAPS:,}",
    "with_batch_norm": _listing(WITH_BATCH_NORM),
    "without_batch_norm": _listing(WITHOUT_BATCH_NORM),
    "best_error": _decimal(BEST_ERROR),
    "worst_error": _decimal(WORST_ERROR),
    "settings_in_half": str(SETTINGS_IN_HALF),
    "mnist_p_value": _decimal(MNIST_P_VALUE),
}
_GROUPS = {name: _group_texts(group) for name, group in PAPER_CLAIMS.items()}
# Figure to a sentence on the paper's results, which are of other networks, mostly larger ones.
IN_THE_PAPER = {
    figure: text.format(**_NUMBERS, **_GROUPS) for figure, text in PAPER_TEMPLATES.items()
}
