"""Claims of later work and open questions beyond the paper, and all claims together."""

from unitlens.catalogue.comparisons import COMPARISONS
from unitlens.catalogue.measures import LABELS
from unitlens.reproduction.claim_makers import question_claim, sign_claim
from unitlens.reproduction.claim_types import Claim, ClaimGroup
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.protocol import MEMORISED

LEVELS_COMPARED = (0.0, 1.0)  # of label corruption
BASES = {"random": "random orthonormal directions", "principal_components": "principal components"}
ORDERED_MEASURES = ("selectivity", "mutual_information", "l1_norm")
# Measures whose ranking of the units is compared with that by class selectivity.
OTHER_MEASURES = (
    "ccmas",
    "roc_auc",
    "informedness",
    "precision_60",
    "mutual_information",
    "sparsity",
)
STRENGTHS = (-2.0, -0.5, 0.05, 0.1)  # of the regulariser, alpha
SCORES = {
    "mean_selectivity": "mean class selectivity",
    "test_accuracy": "test accuracy",
    "auc": "AUC",
}


def _random_directions() -> ClaimGroup:
    claims = tuple(
        question_claim(
            f"{basis}-{level:g}", f"corruption {level:g}: AUC along units minus AUC along {words}"
        )
        for level in LEVELS_COMPARED
        for basis, words in BASES.items()
    )
    return ClaimGroup("Is the basis of the units special?", ("bases",), claims)


def _measure_orders(title: str) -> ClaimGroup:
    claims = tuple(
        question_claim(
            f"{name}-{level:g}",
            f"corruption {level:g}: AUC, smallest {LABELS[name]} ablated first minus largest first",
        )
        for level in LEVELS_COMPARED
        for name in ORDERED_MEASURES
    )
    title = f"Do networks need units with more of a measure more? {title}"
    return ClaimGroup(title, ("measure_orders",), claims)


def _class_damage(title: str) -> ClaimGroup:
    single = "mean accuracy drop of the unit's preferred class minus that of all samples"
    small = "ablating a unit hardly changes overall accuracy but damages single classes"
    own = "share of units that damage their preferred class most minus that share by chance"
    rank = "rank correlation within layers of selectivity and accuracy drop of the preferred class"
    return ClaimGroup(
        f"Which class does ablating a unit damage? {title}",
        ("class_damage",),
        (
            sign_claim("single", "Zhou et al. 2018", single, 1, small, source="L"),
            question_claim("own", own),
            question_claim("selectivity", rank),
        ),
    )


def _measure_agreement(title: str) -> ClaimGroup:
    quantity = "rank correlation within layers of class selectivity and"
    claims = tuple(question_claim(name, f"{quantity} {LABELS[name]}") for name in OTHER_MEASURES)
    title = f"Do measures of selectivity agree? {title}"
    return ClaimGroup(title, ("measure_agreement",), claims)


def _l1_norm_importance(title: str) -> ClaimGroup:
    claim = question_claim("importance", "rank correlation within layers of L1 norm and importance")
    title = f"Do networks need units with large weights more? {title}"
    return ClaimGroup(title, ("l1_norm_importance",), (claim,))


def _regulariser() -> ClaimGroup:
    claims = tuple(
        question_claim(f"{name}-{strength:g}", f"{words}, alpha {strength:g} minus alpha 0")
        for name, words in SCORES.items()
        for strength in STRENGTHS
    )
    return ClaimGroup("What does regularising class selectivity change?", ("regulariser",), claims)


def _selectivity_over_training() -> ClaimGroup:
    rank = (
        "rank correlation within layers of selectivity and importance, at the first kept epoch "
        "after 0 minus at the end"
    )
    change = "mean class selectivity at the end minus at the first kept epoch after 0"
    claims: tuple[Claim, ...] = (
        sign_claim(
            "early",
            "Ranadive et al.",
            rank,
            1,
            "selective units matter early in training",
            source="L",
        ),
        question_claim("selectivity", change),
    )
    title = "Do selective units matter early in training?"
    return ClaimGroup(title, ("selectivity_over_training",), claims)


def _largest_auc() -> ClaimGroup:
    quantity = "epoch of the largest AUC minus epoch of the least test loss, of the kept epochs"
    title = "Is AUC largest when the losses part?"
    return ClaimGroup(title, ("early_stopping",), (question_claim("epochs", quantity),))


def _dropout_training() -> ClaimGroup:
    ends = "largest minus least dropout fraction"
    later = f"corruption 0: epochs until train accuracy {MEMORISED:g}, {ends}"
    accuracy = f"corruption 0: test accuracy at the end, {ends}"
    claims = (question_claim("later", later), question_claim("test_accuracy", accuracy))
    return ClaimGroup("How does training on true labels end with more dropout?", (), claims)


def _selectivity_depth(title: str) -> ClaimGroup:
    quantity = "rank correlation of depth and class selectivity, all units"
    title = f"Are units of deeper layers more selective? {title}"
    return ClaimGroup(title, ("selectivity_depth",), (question_claim("selectivity", quantity),))


FOLLOW_UP_CLAIMS: dict[str, ClaimGroup] = {
    "random_directions": _random_directions(),
    "mnist_measure_orders": _measure_orders("MNIST"),
    "cifar10_measure_orders": _measure_orders("CIFAR-10"),
    "mnist_class_damage": _class_damage("MNIST"),
    "cifar10_class_damage": _class_damage("CIFAR-10"),
    "mnist_measure_agreement": _measure_agreement("MNIST"),
    "cifar10_measure_agreement": _measure_agreement("CIFAR-10"),
    "mnist_l1_importance": _l1_norm_importance("MNIST"),
    "cifar10_l1_importance": _l1_norm_importance("CIFAR-10"),
    "imagenet_l1_importance": _l1_norm_importance("ImageNet"),
    "regulariser": _regulariser(),
    "selectivity_over_training": _selectivity_over_training(),
    "mnist_selectivity_depth": _selectivity_depth("MNIST"),
    "cifar10_selectivity_depth": _selectivity_depth("CIFAR-10"),
    "imagenet_selectivity_depth": _selectivity_depth("ImageNet"),
    "largest_auc": _largest_auc(),
    "dropout_training": _dropout_training(),
}
# In the order of the page: the paper's groups come first.
CLAIM_GROUPS: dict[str, ClaimGroup] = {
    name: (PAPER_CLAIMS | FOLLOW_UP_CLAIMS)[name] for name in COMPARISONS
}
