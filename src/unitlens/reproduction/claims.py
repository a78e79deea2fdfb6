"""The results that the paper reports, as data: values, reading errors, and how each is known."""

from unitlens.reproduction.claim_types import (
    READING_ERROR,
    Claim,
    ClaimGroup,
    ReportedNumber,
    ReportedOrder,
    ReportedSign,
    correlation_claim,
    number_claim,
    sign_claim,
)
from unitlens.reproduction.protocol import (
    ABLATION,
    CHANNELS,
    CURVES,
    MAPS,
    MEASURES,
    NOISE,
    PaperProtocol,
    cifar10_protocol,
    imagenet_protocol,
    mnist_protocol,
)

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of label corruption
MNIST_MEANS = (0.80, 0.55, 0.44, 0.42, 0.36, 0.34)  # train accuracy over the ablation range
MNIST_SCALES = {0.2: 1.9, 1.0: 0.8}  # of noise at half accuracy, by level of label corruption
CIFAR10_SCALES = {0.0: 0.66, 1.0: 0.41}
BEST_ERROR, WORST_ERROR = 0.14, 0.35  # test errors of the networks of figure 3a
SETTINGS_IN_HALF = 48  # of the sweep; AUC selects one of them (M)
TOP_SHARES = {1: 0.13, 5: 0.83, 10: 0.98}  # selections among the top 1, 5 and 10 (M)
DROPOUTS = (0.1, 0.2, 0.3)
ABLATED_MAPS = (400, 800, 1200)
WITH_BATCH_NORM, WITHOUT_BATCH_NORM = (0.98, 0.87, 0.52), (0.66, 0.35, 0.19)
MNIST_P_VALUE = 0.288  # of the correlation in figure 7a: that of n = 127 pairs
CIFAR10_LAYERS = (-0.69, -0.135, -0.04, -0.02, -0.03, 0.03, 0.055, 0.0, 0.03, -0.11, 0.01)
_MEAN_ACCURACY = "mean train accuracy over the whole ablation range"
_HALF_ABLATED = "share of units ablated until accuracy is one half"
_HALF_NOISE = "noise scale at which train accuracy is one half"


def _mnist_ablation() -> tuple[Claim, ...]:
    levels = (
        number_claim(
            f"corruption {level:g}", "1a", f"{_MEAN_ACCURACY}, corruption {level:g}", value
        )
        for level, value in zip(LEVELS, MNIST_MEANS, strict=True)
    )
    falling = f"{_MEAN_ACCURACY}, falling strictly with corruption"
    return *levels, Claim("order", "1a", falling, ReportedOrder(MNIST_MEANS))


def _robustness(title: str, figure: str, protocol: PaperProtocol) -> ClaimGroup:
    largest = "AUC at corruption 0 minus the largest AUC at other levels"
    falling = "AUC, falling strictly over the corrupted levels"
    claims = (
        sign_claim("uncorrupted", figure, largest, 1, "the uncorrupted network is the most robust"),
        Claim("order", figure, falling, ReportedOrder(strict=False)),
    )
    return ClaimGroup(
        f"Memorisation against ablation, {title}", ("memorisation_ablation",), claims, protocol
    )


def _noise(
    title: str, figure: str, scales: dict[float, float], error: float, protocol: PaperProtocol
) -> ClaimGroup:
    """Declare the scales at half accuracy by level of corruption, and that they fall."""
    levels = (
        number_claim(
            f"corruption {level:g}", figure, f"{_HALF_NOISE}, corruption {level:g}", at, error
        )
        for level, at in scales.items()
    )
    ends = f"{_HALF_NOISE}, least corrupted minus most corrupted networks"
    falls = sign_claim("falls", figure, ends, 1, "accuracy of memorising networks falls sooner")
    return ClaimGroup(
        f"Memorisation against noise, {title}", ("memorisation_noise",), (*levels, falls), protocol
    )


def _same_data() -> tuple[Claim, ...]:
    best = ReportedNumber(1440 / MAPS, text="1,440/1,536")
    worst = ReportedNumber(500 / MAPS, 100 / MAPS, text="500/1,536")
    return (
        Claim("best", "3a", f"{_HALF_ABLATED}, best generalisation", best),
        Claim("worst", "3a", f"{_HALF_ABLATED}, worst generalisation", worst),
        sign_claim(
            "falls",
            "3a",
            f"{_HALF_ABLATED}, best minus worst generalisation",
            1,
            "networks that generalise better tolerate more ablation",
        ),
    )


def _selection() -> tuple[Claim, ...]:
    picks = "share of random halves of the settings: that of largest AUC is among the top"
    return (
        correlation_claim("correlation", "4c", "correlation of AUC and test accuracy", 0.914, 192),
        *(
            number_claim(f"top-{top}", "4c", f"{picks} {top} by test accuracy", share, source="M")
            for top, share in TOP_SHARES.items()
        ),
    )


def _dropout(share: float) -> tuple[Claim, ...]:
    lost = f"dropout {share:g}: accuracy lost when the dropout fraction is ablated"
    past = f"dropout {share:g}: mean accuracy past the dropout fraction, corruption 0 minus 1"
    first = "accuracy past the dropout fraction falls first with corrupted labels"
    return (
        # The paper gives no number: flat is taken as a loss within .05.
        number_claim(f"flat-{share:g}", "5a", lost, 0.0, 0.05),
        sign_claim(f"first-{share:g}", "5a", past, 1, first),
    )


def _batch_norm_ablation() -> tuple[Claim, ...]:
    accuracies = {"with": WITH_BATCH_NORM, "without": WITHOUT_BATCH_NORM}
    apart = "AUC with batch norm minus AUC without"
    more = "networks with batch norm tolerate more ablation"
    return (
        *(
            number_claim(
                f"{name}-{maps}",
                "5b",
                f"accuracy, {name} batch norm, {maps:,}/{MAPS:,} maps ablated",
                value,
            )
            for name, values in accuracies.items()
            for maps, value in zip(ABLATED_MAPS, values, strict=True)
        ),
        sign_claim("more-robust", "5b", apart, 1, more),
    )


def _batch_norm_selectivity() -> tuple[Claim, ...]:
    high = "share of maps of selectivity above .7, with batch norm minus without"
    broad = "interquartile range of class selectivity, with batch norm minus without"
    ends = "share of maps of selectivity under .02 or above .98, with batch norm minus without"
    return (
        number_claim("mode", "6a", "mode of class selectivity with batch norm", 0.1, 0.1),
        sign_claim("high", "6a", high, -1, "almost none above .7 with batch norm"),
        sign_claim("broad", "6a", broad, -1, "broad without batch norm"),
        sign_claim("ends", "6a", ends, -1, "spikes at 0 and 1 without batch norm"),
    )


def _batch_norm_information() -> tuple[Claim, ...]:
    near = "share of maps of mutual information under .05 nats, without batch norm"
    bump = "share of maps at .5 to .6 nats minus that per .1 nats from .3 to .5, with batch norm"
    return (
        number_claim("near-zero", "6b", near, 0.36),
        # Whether the paper's unit is nats or bits is not known: .09 bits are .062 nats.
        number_claim(
            "mode", "6b", "mode of mutual information (nats), with batch norm", 0.09, 0.03
        ),
        sign_claim("bump", "6b", bump, 1, "a second bump at .5 to .6"),
    )


def _importance(
    title: str, claims: tuple[Claim, ...], protocol: PaperProtocol, *figures: str
) -> ClaimGroup:
    depth = "rank correlation of depth and importance"
    early = sign_claim("early", "7", depth, -1, "ablations in early layers hurt more")
    return ClaimGroup(
        f"Selectivity and importance, {title}",
        ("selectivity_importance", *figures),
        (*claims, early),
        protocol,
    )


def _rank(name: str, figure: str, where: str, value: float, n: int = 0) -> Claim:
    quantity = f"rank correlation of selectivity and importance, {where}"
    return correlation_claim(name, figure, quantity, value, n)


def _cifar10_layers() -> tuple[Claim, ...]:
    layers = enumerate(zip(CIFAR10_LAYERS, CHANNELS, strict=True), 1)
    return tuple(
        _rank(f"layer-{i}", "7c", f"layer {i} of {len(CHANNELS)}", value, channels)
        for i, (value, channels) in layers
    )


def _l1_norm(title: str, protocol: PaperProtocol) -> ClaimGroup:
    quantity = "rank correlation within layers of L1 norm and selectivity"
    unrelated = ReportedSign(-1, "largely unrelated, if not negatively related", or_none=True)
    claim = Claim("selectivity", "appendix", quantity, unrelated, "D")
    figures = ("selectivity_l1_norm",)
    return ClaimGroup(f"L1 norm and selectivity, {title}", figures, (claim,), protocol)


def _information(title: str, protocol: PaperProtocol) -> ClaimGroup:
    quantity = "rank correlation of mutual information and importance, all units"
    none = ReportedSign(-1, "as for selectivity: no sign of importance", or_none=True)
    claim = Claim("all", "appendix", quantity, none, "D")
    title = f"Mutual information and importance, {title}"
    return ClaimGroup(title, ("information_importance",), (claim,), protocol)


PAPER_CLAIMS: dict[str, ClaimGroup] = {
    "mnist_ablation": ClaimGroup(
        "Memorisation against ablation, MNIST",
        ("memorisation_ablation",),
        _mnist_ablation(),
        mnist_protocol(CURVES, 512, ablated_units=1024),
    ),
    "cifar10_ablation": _robustness("CIFAR-10", "1b", cifar10_protocol(CURVES, ablated_units=MAPS)),
    "imagenet_ablation": _robustness("ImageNet", "1c", imagenet_protocol(CURVES)),
    "mnist_noise": _noise("MNIST", "2a", MNIST_SCALES, 0.1, mnist_protocol(NOISE, 512)),
    "cifar10_noise": _noise(
        "CIFAR-10", "2b", CIFAR10_SCALES, READING_ERROR, cifar10_protocol(NOISE)
    ),
    "same_data": ClaimGroup(
        "Networks trained alike on the same data",
        ("same_data_curves", "same_data_auc"),
        _same_data(),
        cifar10_protocol(CURVES, networks=200, ablated_units=MAPS),
    ),
    "early_stopping": ClaimGroup(
        "AUC over training",
        ("early_stopping", "auc_over_training"),
        (
            sign_claim(
                "falls",
                "4a",
                "AUC at the end of training minus AUC at the least test loss",
                -1,
                "AUC falls when train and test loss diverge",
            ),
            correlation_claim(
                "correlation", "4b", "correlation of AUC and test loss over training", -0.728
            ),
        ),
        mnist_protocol(CURVES, 2048),
    ),
    "hyperparameter_selection": ClaimGroup(
        "AUC and test accuracy over a sweep",
        ("hyperparameter_selection", "auc_test_accuracy"),
        _selection(),
        cifar10_protocol(CURVES, networks=192),
    ),
    "dropout": ClaimGroup(
        "Dropout",
        ("dropout_ablation",),
        tuple(claim for share in DROPOUTS for claim in _dropout(share)),
        mnist_protocol(CURVES, 2048, epochs=5000),
    ),
    "batch_norm_ablation": ClaimGroup(
        "Batch norm and ablation",
        ("batch_norm_ablation",),
        _batch_norm_ablation(),
        cifar10_protocol(CURVES, ablated_units=MAPS),
    ),
    "batch_norm_selectivity": ClaimGroup(
        "Batch norm and class selectivity",
        ("batch_norm_selectivity",),
        _batch_norm_selectivity(),
        cifar10_protocol(MEASURES, networks=8),
    ),
    "batch_norm_information": ClaimGroup(
        "Batch norm and mutual information",
        ("batch_norm_information",),
        _batch_norm_information(),
        cifar10_protocol(MEASURES, networks=8),
    ),
    "mnist_importance": _importance(
        "MNIST", (_rank("all", "7a", "all units", 0.095, 127),), mnist_protocol(ABLATION, 128)
    ),
    "cifar10_importance": _importance(
        "CIFAR-10",
        (_rank("all", "7b", "all maps", -0.428, sum(CHANNELS)), *_cifar10_layers()),
        cifar10_protocol(ABLATION),
        "selectivity_depth",
    ),
    "imagenet_importance": _importance(
        "ImageNet",
        (
            _rank("all", "7d", "all maps", -0.012),
            _rank("first", "7e", "first layer", -0.75, 64),
        ),
        imagenet_protocol(ABLATION),
        "selectivity_depth",
    ),
    "clamping": ClaimGroup(
        "Clamping to zero or to the mean",
        ("clamping",),
        (
            sign_claim(
                "mean",
                "appendix",
                "AUC when clamped to the mean minus AUC when clamped to zero",
                -1,
                "clamping to the mean is more damaging",
                source="D",
            ),
        ),
        cifar10_protocol(CURVES),
    ),
    "mnist_l1_norm": _l1_norm("MNIST", mnist_protocol(MEASURES, 128)),
    "cifar10_l1_norm": _l1_norm("CIFAR-10", cifar10_protocol(MEASURES)),
    "imagenet_l1_norm": _l1_norm("ImageNet", imagenet_protocol(MEASURES)),
    "mnist_information": _information("MNIST", mnist_protocol(ABLATION, 128)),
    "cifar10_information": _information("CIFAR-10", cifar10_protocol(ABLATION)),
    "imagenet_information": _information("ImageNet", imagenet_protocol(ABLATION)),
}
