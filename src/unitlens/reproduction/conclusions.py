"""The ten conclusions of the paper: words, the claims that decide each, and its figure."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from unitlens.reproduction.claims import PAPER_CLAIMS

CONCLUSION_RULE = """\
A conclusion is judged for each data set by its deciding rows, which are named below it. It
**holds** where all deciding rows support it and all of its numbers agree. It **holds in direction**
where all deciding rows support it, while some number differs or could not be tested; and **in
part**, where some deciding rows support it, none contradicts it, and the others could not be
tested. It **fails** where a deciding row surely contradicts it. It **could not be tested here**
where every deciding row is undecided, compatible only (the row could hardly have failed), not
measured, or of too few networks. Over several data sets, those where it could be tested count: it
is **mixed** where it fails on some and not on others, else the weakest of their verdicts stands.
"""


@dataclass(frozen=True)
class ConclusionPart:
    """The claims behind a conclusion on one data set.

    Attributes
    ----------
    where
        The data set (or what is measured) with its preposition, such as ``on MNIST``.
    deciding
        Patterns of the claims that decide, each ``group/claim``: ``*`` stands for any characters.
    details
        Patterns of the claims that must agree as well where the conclusion holds in all numbers.
    against
        Side of 0 (1 or -1) on which a correlation contradicts the conclusion; 0 for the side that
        is opposite to the paper's correlation.
    """

    where: str
    deciding: tuple[str, ...]
    details: tuple[str, ...] = ()
    against: int = 0

    def claims(self) -> Iterator[tuple[tuple[str, str], bool]]:
        """Yield group and name of each claim of the part, and whether the claim decides."""
        for group, declared in PAPER_CLAIMS.items():
            for claim in declared.claims:
                path = f"{group}/{claim.name}"
                decides = _matches(path, self.deciding)
                if decides or _matches(path, self.details):
                    yield (group, claim.name), decides


@dataclass(frozen=True)
class Conclusion:
    """A conclusion of the paper.

    Attributes
    ----------
    title
        A few words.
    words
        The conclusion in a sentence.
    figure
        Name of our figure that shows it.
    parts
        The claims behind it, by data set.
    """

    title: str
    words: str
    figure: str
    parts: tuple[ConclusionPart, ...]


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _importance_part(where: str, name: str) -> ConclusionPart:
    """Return the part of a data set on importance of selective units and of early layers."""
    group = f"{name}_importance"
    deciding = (f"{group}/all", f"{group}/early", f"{name}_information/all")
    return ConclusionPart(where, deciding, (f"{group}/*",), against=1)


_MNIST, _CIFAR10, _IMAGENET = "on MNIST", "on CIFAR-10", "on ImageNet"
CONCLUSIONS = (
    Conclusion(
        "Memorisation and ablation",
        "Networks that memorise permuted labels rely more on single directions: their accuracy "
        "falls sooner as units are ablated.",
        "memorisation_ablation",
        (
            ConclusionPart(_MNIST, ("mnist_ablation/order",), ("mnist_ablation/*",)),
            ConclusionPart(_CIFAR10, ("cifar10_ablation/uncorrupted",)),
            ConclusionPart(_IMAGENET, ("imagenet_ablation/uncorrupted",)),
        ),
    ),
    Conclusion(
        "Memorisation and noise",
        "Networks that memorise permuted labels are less robust to noise on all units.",
        "memorisation_noise",
        (
            ConclusionPart(_MNIST, ("mnist_noise/falls",), ("mnist_noise/*",)),
            ConclusionPart(_CIFAR10, ("cifar10_noise/falls",), ("cifar10_noise/*",)),
        ),
    ),
    Conclusion(
        "Generalisation on the same data",
        "Of networks trained alike on the same data, those that generalise better rely less on "
        "single directions.",
        "same_data_curves",
        (ConclusionPart(_CIFAR10, ("same_data/falls",), ("same_data/*",)),),
    ),
    Conclusion(
        "When to stop training",
        "The area under the ablation curve says when to stop training: it falls when the losses "
        "on training and test data part.",
        "early_stopping",
        (
            ConclusionPart(
                _MNIST,
                ("early_stopping/falls", "early_stopping/correlation"),
                ("early_stopping/*",),
            ),
        ),
    ),
    Conclusion(
        "Selection of hyperparameters",
        "The area under the ablation curve, which needs no test data, follows test accuracy over "
        "hyperparameters, so that it can select them.",
        "hyperparameter_selection",
        (
            ConclusionPart(
                _CIFAR10, ("hyperparameter_selection/correlation",), ("hyperparameter_selection/*",)
            ),
        ),
    ),
    Conclusion(
        "Dropout",
        "Dropout regularises reliance on single directions up to the dropout fraction only.",
        "dropout_ablation",
        (ConclusionPart(_MNIST, ("dropout/flat-*", "dropout/first-*"), ("dropout/*",)),),
    ),
    Conclusion(
        "Batch norm and ablation",
        "Batch norm lowers the reliance on single directions.",
        "batch_norm_ablation",
        (
            ConclusionPart(
                _CIFAR10, ("batch_norm_ablation/more-robust",), ("batch_norm_ablation/*",)
            ),
        ),
    ),
    Conclusion(
        "Batch norm and selectivity",
        "Batch norm makes units less class selective, and changes the distribution of mutual "
        "information.",
        "batch_norm_selectivity",
        (
            ConclusionPart(
                "for class selectivity on CIFAR-10",
                tuple(f"batch_norm_selectivity/{name}" for name in ("high", "broad", "ends")),
                ("batch_norm_selectivity/*",),
            ),
            ConclusionPart(
                "for mutual information on CIFAR-10",
                ("batch_norm_information/bump",),
                ("batch_norm_information/*",),
            ),
        ),
    ),
    Conclusion(
        "Selectivity and importance",
        "Units that are class selective, or informative of the class, are not more important than "
        "other units; units of early layers are.",
        "selectivity_importance",
        (
            _importance_part(_MNIST, "mnist"),
            _importance_part(_CIFAR10, "cifar10"),
            _importance_part(_IMAGENET, "imagenet"),
        ),
    ),
    Conclusion(
        "Clamping to the mean",
        "Clamping units to their mean is more damaging than clamping them to zero.",
        "clamping",
        (ConclusionPart(_CIFAR10, ("clamping/mean",), ("clamping/*",)),),
    ),
)
# Claims of the paper that are no evidence for or against one of its conclusions.
BESIDE_CONCLUSIONS = ("*_ablation/order", "*_l1_norm/selectivity")
