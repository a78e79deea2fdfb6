"""What the paper reports of ablation curves, noise and training, with how it could be otherwise."""

from unitlens.reproduction.claim_makers import correlation_claim, number_claim, sign_claim
from unitlens.reproduction.claim_types import (
    READING_ERROR,
    Alternative,
    Claim,
    ClaimGroup,
    ReportedNumber,
    ReportedOrder,
)
from unitlens.reproduction.paper_values import (
    ABLATED_MAPS,
    BEST_MAPS,
    CLASSES,
    DROPOUT_LEVELS,
    DROPOUTS,
    EXTREMES,
    LEVELS,
    MNIST_MEANS,
    SWEPT_SETTINGS,
    TOP_SHARES,
    WITH_BATCH_NORM,
    WITHOUT_BATCH_NORM,
    WORST_MAPS,
)
from unitlens.reproduction.protocol import ALL_MAPS, MAPS, MEMORISED, PaperProtocol

_MEAN_ACCURACY = "mean train accuracy over the whole ablation range"
_HALF_ABLATED = "share of units ablated until accuracy is one half"
_HALF_NOISE = "noise scale at which train accuracy is one half"


def _level_claims(
    figure: str, quantity: str, values: dict[float, float], error: float = READING_ERROR
) -> tuple[Claim, ...]:
    """Declare a value of each level of label corruption, against that of the nearest neighbour."""
    levels = list(values)
    neighbours = {
        level: min(
            (values[other] for other in levels[max(0, place - 1) : place + 2] if other != level),
            key=lambda value: abs(value - values[level]),
        )
        for place, level in enumerate(levels)
    }
    return tuple(
        number_claim(
            f"corruption {level:g}",
            figure,
            f"{quantity}, corruption {level:g}",
            ReportedNumber(value, error),
            Alternative("the paper's value of a neighbouring level", (neighbours[level],)),
        )
        for level, value in values.items()
    )


def mnist_ablation_claims() -> tuple[Claim, ...]:
    """Declare figure 1a: the AUC at each level of corruption, and that it falls."""
    means = dict(zip(LEVELS, MNIST_MEANS, strict=True))
    falling = f"{_MEAN_ACCURACY}, falling strictly with corruption"
    rise = Alternative("one step rises by the mean spacing of our levels")
    order = Claim("order", "1a", falling, ReportedOrder(MNIST_MEANS), alternative=rise)
    return *_level_claims("1a", _MEAN_ACCURACY, means), order


def robustness_claims(title: str, figure: str, protocol: PaperProtocol) -> ClaimGroup:
    """Declare figure 1b or 1c: uncorrupted networks against the others, and no strict order."""
    least = "AUC at corruption 0 minus AUC at another level, the smallest of these differences"
    falling = "AUC, falling strictly over the corrupted levels"
    strict = Alternative("a strict fall by steps of the mean spacing of our levels")
    claims = (
        sign_claim("uncorrupted", figure, least, 1, "the uncorrupted network is the most robust"),
        Claim("order", figure, falling, ReportedOrder(strict=False), alternative=strict),
    )
    return ClaimGroup(
        f"Memorisation against ablation, {title}", ("memorisation_ablation",), claims, protocol
    )


def noise_claims(
    title: str, figure: str, scales: dict[float, float], error: float, protocol: PaperProtocol
) -> ClaimGroup:
    """Declare the scales at half accuracy by level of corruption, and that they fall."""
    ends = f"{_HALF_NOISE}, least corrupted minus most corrupted networks"
    falls = sign_claim("falls", figure, ends, 1, "accuracy of memorising networks falls sooner")
    claims = (*_level_claims(figure, _HALF_NOISE, scales, error), falls)
    return ClaimGroup(
        f"Memorisation against noise, {title}", ("memorisation_noise",), claims, protocol
    )


def same_data_claims() -> tuple[Claim, ...]:
    """Declare figures 3a and 3b: ablation at both ends of generalisation, and AUC beside it."""
    ends = {"best": (BEST_MAPS, READING_ERROR), "worst": (WORST_MAPS, 100 / ALL_MAPS)}
    shares = {name: maps / ALL_MAPS for name, (maps, _) in ends.items()}
    others = {"best": "worst", "worst": "best"}
    return (
        *(
            number_claim(
                name,
                "3a",
                f"{_HALF_ABLATED}, {name} generalisation",
                ReportedNumber(
                    shares[name], error, text=f"{maps:,}/{ALL_MAPS:,}", networks=EXTREMES
                ),
                Alternative(
                    f"the paper's value for the {others[name]} generalisation",
                    (round(shares[others[name]], 3),),
                ),
            )
            for name, (maps, error) in ends.items()
        ),
        sign_claim(
            "falls",
            "3a",
            f"{_HALF_ABLATED}, best minus worst generalisation",
            1,
            "networks that generalise better tolerate more ablation",
        ),
        sign_claim(
            "correlation",
            "3b",
            "correlation of AUC and generalisation error (1 - test accuracy) over networks",
            -1,
            "the larger the AUC, the smaller the generalisation error",
            source="M",
        ),
    )


def selection_claims() -> tuple[Claim, ...]:
    """Declare figure 4c: AUC and test accuracy over a sweep, and selection by AUC."""
    picks = "share of random halves of the settings: that of largest AUC is among the top"
    chance = Alternative("the share of a setting selected at random from our halves")
    return (
        correlation_claim(
            "correlation",
            "4c",
            "correlation of AUC and test accuracy",
            0.914,
            SWEPT_SETTINGS,
            networks=SWEPT_SETTINGS,
        ),
        *(
            number_claim(
                f"top-{top}",
                "4c",
                f"{picks} {top} by test accuracy",
                ReportedNumber(share, networks=2),
                chance,
                source="M",
            )
            for top, share in TOP_SHARES.items()
        ),
    )


def dropout_claims() -> tuple[Claim, ...]:
    """Declare figure 5a, and how training of corrupted labels ends with more dropout."""
    later = (
        f"corruption 1: epochs until train accuracy {MEMORISED:g}, largest minus least dropout "
        "fraction"
    )
    worse = "corruption 1: train accuracy at the end, largest minus least dropout fraction"
    return (
        *(claim for share in DROPOUTS for claim in _dropout_share_claims(share)),
        sign_claim("later", "text", later, 1, "more dropout converges later", source="M"),
        sign_claim("worse", "text", worse, -1, "more dropout ends in worse solutions", source="M"),
    )


def _dropout_share_claims(share: float) -> tuple[Claim, ...]:
    """Declare figure 5a for one dropout fraction."""
    lost = f"dropout {share:g}: accuracy lost when the dropout fraction is ablated"
    past = f"dropout {share:g}: mean accuracy past the dropout fraction, corruption 0 minus 1"
    first = "accuracy past the dropout fraction falls first with corrupted labels"
    straight = Alternative(
        "the loss if accuracy fell from 1 to chance in a straight line over all units",
        (round(share * (1 - 1 / CLASSES), 3),),
    )
    return (
        *(
            # The paper gives no number: flat is taken as a loss within .05.
            number_claim(
                f"flat-{share:g}-{level:g}",
                "5a",
                f"{lost}, corruption {level:g}",
                ReportedNumber(0.0, 0.05),
                straight,
            )
            for level in DROPOUT_LEVELS
        ),
        sign_claim(f"first-{share:g}", "5a", past, 1, first),
    )


def batch_norm_ablation_claims() -> tuple[Claim, ...]:
    """Declare figure 5b: accuracies with and without batch norm."""
    kinds = (
        ("with", WITH_BATCH_NORM, WITHOUT_BATCH_NORM),
        ("without", WITHOUT_BATCH_NORM, WITH_BATCH_NORM),
    )
    apart = "AUC with batch norm minus AUC without"
    more = "networks with batch norm tolerate more ablation"
    return (
        *(
            number_claim(
                f"{name}-{maps}",
                "5b",
                f"accuracy, {name} batch norm, {maps:,}/{MAPS:,} maps ablated",
                ReportedNumber(value),
                Alternative("the paper's value of the other kind of network", (other,)),
            )
            for name, values, others in kinds
            for maps, value, other in zip(ABLATED_MAPS, values, others, strict=True)
        ),
        sign_claim("more-robust", "5b", apart, 1, more),
    )
