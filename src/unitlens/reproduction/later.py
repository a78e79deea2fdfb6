"""What later work and readers of the paper ask, as data beside the paper's own results."""

from unitlens.reproduction.claims import DATASETS, PAPER
from unitlens.reproduction.kinds import (
    Claim,
    ClaimGroup,
    Direction,
    Sign,
)

ENDS = (0.0, 1.0)  # levels of label corruption
MEASURES = {
    "selectivity": "class selectivity",
    "mutual_information": "mutual information",
    "l1_norm": "L1 norm",
}
ALIKE = {
    "ccmas": "CCMAS",
    "roc_auc": "ROC AUC",
    "informedness": "informedness",
    "precision_60": "precision of the top 60",
    "mutual_information": "mutual information",
    "sparsity": "sparsity",
}
STRENGTHS = (-2.0, -0.5, 0.05, 0.1)
SCORES = {
    "mean_selectivity": "mean class selectivity",
    "test_accuracy": "test accuracy",
    "auc": "AUC",
}


def _asked(name: str, what: str) -> Claim:
    return Claim(name, "beyond", what, Sign(), "")


def _directions() -> tuple[Claim, ...]:
    others = {"random": "random orthonormal directions", "principal_components": "components"}
    return tuple(
        _asked(f"{basis}-{level:g}", f"corruption {level:g}: AUC along units minus along {told}")
        for level in ENDS
        for basis, told in others.items()
    )


def _orders(title: str) -> ClaimGroup:
    claims = (
        _asked(
            f"{name}-{level:g}",
            f"corruption {level:g}: AUC, smallest {told} ablated first minus largest first",
        )
        for level in ENDS
        for name, told in MEASURES.items()
    )
    title = f"Are units with more of a measure needed more? {title}"
    return ClaimGroup(title, ("measure_orders",), tuple(claims))


def _damage(title: str) -> ClaimGroup:
    single = Direction(
        1, "ablating a unit hardly moves overall accuracy but damages single classes"
    )
    return ClaimGroup(
        f"Which class does ablating a unit damage? {title}",
        ("class_damage",),
        (
            Claim(
                "single",
                "Zhou et al. 2018",
                "mean accuracy lost by the unit's preferred class, minus by all samples",
                single,
                "L",
            ),
            _asked("own", "share of units whose preferred class loses most, minus that by chance"),
            _asked(
                "selectivity",
                "rank correlation within layers of selectivity and the preferred class's loss",
            ),
        ),
    )


def _l1_norm(title: str) -> ClaimGroup:
    claim = _asked("importance", "rank correlation within layers of L1 norm and importance")
    title = f"Are units of large weights needed more? {title}"
    return ClaimGroup(title, ("l1_norm_importance",), (claim,))


def _agreement(title: str) -> ClaimGroup:
    what = "rank correlation within layers of class selectivity and"
    claims = (_asked(name, f"{what} {told}") for name, told in ALIKE.items())
    title = f"Do measures of selectivity agree? {title}"
    return ClaimGroup(title, ("measure_agreement",), tuple(claims))


LATER: dict[str, ClaimGroup] = {
    "random_directions": ClaimGroup(
        "Is the basis of the units special?", ("bases",), _directions()
    ),
    "mnist_measure_orders": _orders("MNIST"),
    "cifar10_measure_orders": _orders("CIFAR-10"),
    "mnist_class_damage": _damage("MNIST"),
    "cifar10_class_damage": _damage("CIFAR-10"),
    "mnist_measure_agreement": _agreement("MNIST"),
    "cifar10_measure_agreement": _agreement("CIFAR-10"),
    **{f"{name}_l1_importance": _l1_norm(title) for name, title in DATASETS.items()},
    "regulariser": ClaimGroup(
        "What does regularising class selectivity do?",
        ("regulariser",),
        tuple(
            _asked(f"{name}-{strength:g}", f"{told}, alpha {strength:g} minus alpha 0")
            for name, told in SCORES.items()
            for strength in STRENGTHS
        ),
    ),
    "selectivity_over_training": ClaimGroup(
        "Do selective units matter early in training?",
        ("selectivity_over_training",),
        (
            Claim(
                "early",
                "Ranadive et al.",
                "rank correlation within layers of selectivity and importance, at the first kept "
                "epoch after 0 minus at the end",
                Direction(1, "selective units matter early"),
                "L",
            ),
            _asked("selectivity", "mean class selectivity at the end minus at that epoch"),
        ),
    ),
}
GROUPS: dict[str, ClaimGroup] = PAPER | LATER
