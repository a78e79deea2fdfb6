"""What the paper reports, as data: one claim a result that can be set beside ours.

How each is known: F read off the paper's own figures, D a slide deck that paraphrases it, R a
replication's code or data, M recalled, I inferred.
"""

from unitlens.reproduction.kinds import (
    READING,
    Claim,
    ClaimGroup,
    Direction,
    Number,
    Order,
)

MAPS = 1536  # of the last three layers of the paper's CIFAR-10 network
CHANNELS = (64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512)
LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MNIST_MEANS = (0.80, 0.55, 0.44, 0.42, 0.36, 0.34)
CIFAR_LAYERS = (-0.69, -0.135, -0.04, -0.02, -0.03, 0.03, 0.055, 0.0, 0.03, -0.11, 0.01)
DROPOUTS = (0.1, 0.2, 0.3)
HALF_OF_SWEEP = 48  # settings, of which AUC picks one (M)
FRACTIONS = (400 / MAPS, 800 / MAPS, 1200 / MAPS)
WITH, WITHOUT = (0.98, 0.87, 0.52), (0.66, 0.35, 0.19)
DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "imagenet": "ImageNet"}
_LEFT = "mean train accuracy over the whole ablation range"


def _robust(figure: str) -> tuple[Claim, ...]:
    most = Direction(1, "the uncorrupted network is the most robust")
    return (
        Claim("uncorrupted", figure, "AUC at corruption 0 minus the largest at others", most),
        Claim("order", figure, "AUC falls strictly over the corrupted levels", Order(strict=False)),
    )


def _early() -> Claim:
    hurt = Direction(-1, "ablations in early layers hurt more")
    return Claim("early", "7", "rank correlation of depth and importance", hurt)


def _rank(name: str, figure: str, where: str, value: float, n: int = 0) -> Claim:
    what = f"rank correlation of selectivity and importance, {where}"
    return Claim(name, figure, what, Number(value, correlation=True, n=n))


def _dropout(share: float) -> tuple[Claim, ...]:
    flat = "accuracy lost when the dropout fraction is ablated"
    first = "mean accuracy past the dropout fraction, clean minus fully corrupted"
    return (
        # No number is known: flat is taken as within .05.
        Claim(f"flat-{share:g}", "5a", f"dropout {share:g}: {flat}", Number(0.0, 0.05)),
        Claim(
            f"first-{share:g}",
            "5a",
            f"dropout {share:g}: {first}",
            Direction(1, "past the dropout fraction the corrupted ones fall first"),
        ),
    )


def _noise(level: float, figure: str, value: float, error: float) -> Claim:
    what = f"noise scale at which train accuracy is one half, corruption {level:g}"
    return Claim(f"corruption {level:g}", figure, what, Number(value, error))


def _noise_falls(figure: str) -> Claim:
    falls = Direction(1, "memorising networks fall sooner")
    return Claim("falls", figure, "that scale, least corrupted minus fully corrupted", falls)


def _l1_norm(title: str) -> ClaimGroup:
    unrelated = Direction(-1, "largely unrelated, if not negatively related", or_none=True)
    what = "rank correlation within layers of L1 norm and selectivity"
    claim = Claim("selectivity", "appendix", what, unrelated, "D")
    return ClaimGroup(f"L1 norm and selectivity, {title}", ("selectivity_l1_norm",), (claim,))


def _information(title: str) -> ClaimGroup:
    nothing = Direction(-1, "as for selectivity: no sign of importance", or_none=True)
    what = "rank correlation of mutual information and importance, all units"
    claim = Claim("all", "appendix", what, nothing, "D")
    title = f"Mutual information and importance, {title}"
    return ClaimGroup(title, ("information_importance",), (claim,))


PAPER: dict[str, ClaimGroup] = {
    "mnist_ablation": ClaimGroup(
        "Memorisation against ablation, MNIST",
        ("memorisation_ablation",),
        (
            *(
                Claim(
                    f"corruption {level:g}", "1a", f"{_LEFT}, corruption {level:g}", Number(value)
                )
                for level, value in zip(LEVELS, MNIST_MEANS, strict=True)
            ),
            Claim("order", "1a", "the same, falling strictly with corruption", Order(MNIST_MEANS)),
        ),
    ),
    "cifar10_ablation": ClaimGroup(
        "Memorisation against ablation, CIFAR-10", ("memorisation_ablation",), _robust("1b")
    ),
    "imagenet_ablation": ClaimGroup(
        "Memorisation against ablation, ImageNet", ("memorisation_ablation",), _robust("1c")
    ),
    "mnist_noise": ClaimGroup(
        "Memorisation against noise, MNIST",
        ("memorisation_noise",),
        (_noise(0.2, "2a", 1.9, 0.1), _noise(1, "2a", 0.8, 0.1), _noise_falls("2a")),
    ),
    "cifar10_noise": ClaimGroup(
        "Memorisation against noise, CIFAR-10",
        ("memorisation_noise",),
        (_noise(0, "2b", 0.66, READING), _noise(1, "2b", 0.41, READING), _noise_falls("2b")),
    ),
    "same_data": ClaimGroup(
        "Networks trained alike on the same data",
        ("same_data_curves", "same_data_auc"),
        (
            Claim(
                "best",
                "3a",
                "share of units ablated until accuracy is one half, best generalisation",
                Number(1440 / MAPS, text="1,440/1,536"),
            ),
            Claim(
                "worst",
                "3a",
                "the same, worst generalisation",
                Number(500 / MAPS, 100 / MAPS, text="500/1,536"),
            ),
            Claim(
                "falls",
                "3a",
                "the same, best minus worst",
                Direction(1, "networks that generalise better take more ablation"),
            ),
        ),
    ),
    "early_stopping": ClaimGroup(
        "AUC over training",
        ("early_stopping", "auc_over_training"),
        (
            Claim(
                "falls",
                "4a",
                "AUC at the end minus AUC when test loss was least",
                Direction(-1, "AUC falls when train and test loss part"),
            ),
            Claim(
                "correlation",
                "4b",
                "correlation of AUC and test loss over training",
                Number(-0.728, correlation=True),
            ),
        ),
    ),
    "hyperparameter_selection": ClaimGroup(
        "AUC and test accuracy over a sweep",
        ("hyperparameter_selection", "auc_test_accuracy"),
        (
            Claim(
                "correlation",
                "4c",
                "correlation of AUC and test accuracy over networks",
                Number(0.914, correlation=True, n=192),
            ),
            *(
                Claim(
                    f"top-{top}",
                    "4c",
                    f"share of random half-subsets of settings: AUC picks one of the top {top}",
                    Number(share),
                    "M",
                )
                for top, share in ((1, 0.13), (5, 0.83), (10, 0.98))
            ),
        ),
    ),
    "dropout": ClaimGroup(
        "Dropout", ("dropout_ablation",), tuple(c for share in DROPOUTS for c in _dropout(share))
    ),
    "batch_norm_ablation": ClaimGroup(
        "Batch norm and ablation",
        ("batch_norm_ablation",),
        (
            *(
                Claim(
                    f"{name}-{round(MAPS * at)}",
                    "5b",
                    f"accuracy, {name} batch norm, {round(MAPS * at):,}/{MAPS:,} maps ablated",
                    Number(value),
                )
                for name, values in (("with", WITH), ("without", WITHOUT))
                for at, value in zip(FRACTIONS, values, strict=True)
            ),
            Claim(
                "more-robust",
                "5b",
                "AUC with batch norm minus AUC without",
                Direction(1, "networks with batch norm take more ablation"),
            ),
        ),
    ),
    "batch_norm_selectivity": ClaimGroup(
        "Batch norm and class selectivity",
        ("batch_norm_selectivity",),
        (
            Claim("mode", "6a", "mode of class selectivity with batch norm", Number(0.1, 0.1)),
            Claim(
                "high",
                "6a",
                "share of maps of selectivity above .7, with minus without",
                Direction(-1, "almost none above .7 with batch norm"),
            ),
            Claim(
                "broad",
                "6a",
                "interquartile range of class selectivity, with minus without",
                Direction(-1, "broad without batch norm"),
            ),
            Claim(
                "ends",
                "6a",
                "share of maps of selectivity under .02 or above .98, with minus without",
                Direction(-1, "spikes at 0 and 1 without batch norm"),
            ),
        ),
    ),
    "batch_norm_information": ClaimGroup(
        "Batch norm and mutual information",
        ("batch_norm_information",),
        (
            Claim(
                "near-zero",
                "6b",
                "share of maps of mutual information under .05 nats, without batch norm",
                Number(0.36),
            ),
            # Whether nats or bits is not known: .09 bits are .062 nats.
            Claim(
                "mode",
                "6b",
                "mode of mutual information (nats), with batch norm",
                Number(0.09, 0.03),
            ),
            Claim(
                "bump",
                "6b",
                "share of maps at .5 to .6 nats minus that at .3 to .5 for a width of .1, with",
                Direction(1, "a second bump at .5 to .6"),
            ),
        ),
    ),
    "mnist_importance": ClaimGroup(
        "Selectivity and importance, MNIST",
        ("selectivity_importance",),
        # p = .288 with r = .095 is that of n = 127.
        (_rank("all", "7a", "all units", 0.095, 127), _early()),
    ),
    "cifar10_importance": ClaimGroup(
        "Selectivity and importance, CIFAR-10",
        ("selectivity_importance", "selectivity_depth"),
        (
            _rank("all", "7b", "all maps", -0.428, sum(CHANNELS)),
            *(
                _rank(f"layer-{i + 1}", "7c", f"layer {i + 1} of 11", value, CHANNELS[i])
                for i, value in enumerate(CIFAR_LAYERS)
            ),
            _early(),
        ),
    ),
    "imagenet_importance": ClaimGroup(
        "Selectivity and importance, ImageNet",
        ("selectivity_importance", "selectivity_depth"),
        (
            _rank("all", "7d", "all maps", -0.012),
            _rank("first", "7e", "first layer", -0.75, 64),
            _early(),
        ),
    ),
    "clamping": ClaimGroup(
        "Clamping to zero or to the mean",
        ("clamping",),
        (
            Claim(
                "mean",
                "appendix",
                "AUC when clamped to the mean minus AUC when clamped to zero",
                Direction(-1, "clamping to the mean is more damaging"),
                "D",
            ),
        ),
    ),
    **{f"{name}_l1_norm": _l1_norm(title) for name, title in DATASETS.items()},
    **{f"{name}_information": _information(title) for name, title in DATASETS.items()},
}
