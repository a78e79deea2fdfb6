"""What the paper reports of single units, with how it could be otherwise."""

from unitlens.reproduction.claim_makers import (
    correlation_claim,
    no_positive_claim,
    number_claim,
    sign_claim,
)
from unitlens.reproduction.claim_types import Alternative, Claim, ClaimGroup, ReportedNumber
from unitlens.reproduction.paper_values import CIFAR10_LAYERS, NETWORKS_OF_A_KIND
from unitlens.reproduction.protocol import CHANNELS, PaperProtocol


def batch_norm_selectivity_claims() -> tuple[Claim, ...]:
    """Declare figure 6a."""
    high = "share of maps of selectivity above .7, with batch norm minus without"
    broad = "interquartile range of class selectivity, with batch norm minus without"
    ends = "share of maps of selectivity under .02 or above .98, with batch norm minus without"
    return (
        number_claim(
            "mode",
            "6a",
            "mode of class selectivity with batch norm, mean over networks",
            ReportedNumber(0.1, 0.1, networks=NETWORKS_OF_A_KIND),
            Alternative("the middle of the range, as of a broad distribution", (0.5,)),
        ),
        sign_claim("high", "6a", high, -1, "almost none above .7 with batch norm"),
        sign_claim("broad", "6a", broad, -1, "broad without batch norm"),
        sign_claim("ends", "6a", ends, -1, "spikes at 0 and 1 without batch norm"),
    )


def batch_norm_information_claims() -> tuple[Claim, ...]:
    """Declare figure 6b."""
    near = "share of maps of mutual information under .05 nats, without batch norm"
    bump = "share of maps at .5 to .6 nats minus that per .1 nats from .3 to .5, with batch norm"
    return (
        number_claim(
            "near-zero",
            "6b",
            near,
            ReportedNumber(0.36, networks=NETWORKS_OF_A_KIND),
            Alternative("the share if maps lay evenly from 0 to .6 nats", (round(0.05 / 0.6, 3),)),
        ),
        # Whether the paper's unit is nats or bits is not known: .09 bits are .062 nats.
        number_claim(
            "mode",
            "6b",
            "mode of mutual information (nats) with batch norm, mean over networks",
            ReportedNumber(0.09, 0.03, networks=NETWORKS_OF_A_KIND),
            Alternative("a mode near 0, as without batch norm", (0.01,)),
        ),
        sign_claim("bump", "6b", bump, 1, "a second bump at .5 to .6"),
    )


def importance_claims(
    title: str, claims: tuple[Claim, ...], protocol: PaperProtocol, *figures: str
) -> ClaimGroup:
    """Declare correlations of figure 7, and that early layers matter more."""
    depth = "rank correlation of depth and importance"
    early = sign_claim("early", "7", depth, -1, "ablations in early layers hurt more")
    return ClaimGroup(
        f"Selectivity and importance, {title}",
        ("selectivity_importance", *figures),
        (*claims, early),
        protocol,
    )


def rank_claim(name: str, figure: str, where: str, value: float, n: int = 0) -> Claim:
    """Declare a rank correlation of selectivity and importance."""
    quantity = f"rank correlation of selectivity and importance, {where}"
    return correlation_claim(name, figure, quantity, value, n)


def cifar10_layers_claims() -> tuple[Claim, ...]:
    """Declare figure 7c: a correlation for each layer."""
    layers = enumerate(zip(CIFAR10_LAYERS, CHANNELS, strict=True), 1)
    return tuple(
        rank_claim(f"layer-{i}", "7c", f"layer {i} of {len(CHANNELS)}", value, channels)
        for i, (value, channels) in layers
    )


def l1_norm_claims(title: str, protocol: PaperProtocol) -> ClaimGroup:
    """Declare the appendix on L1 norms."""
    quantity = "rank correlation within layers of L1 norm and selectivity"
    unrelated = "largely unrelated, if not negatively related"
    claim = no_positive_claim("selectivity", "appendix", quantity, unrelated)
    figures = ("selectivity_l1_norm",)
    return ClaimGroup(f"L1 norm and selectivity, {title}", figures, (claim,), protocol)


def information_claims(title: str, protocol: PaperProtocol) -> ClaimGroup:
    """Declare the appendix on mutual information."""
    quantity = "rank correlation of mutual information and importance, all units"
    none = "as for selectivity: no sign of importance"
    claim = no_positive_claim("all", "appendix", quantity, none)
    title = f"Mutual information and importance, {title}"
    return ClaimGroup(title, ("information_importance",), (claim,), protocol)
