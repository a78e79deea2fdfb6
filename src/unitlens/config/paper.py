"""Which results of the paper a configuration sets beside its own, and what they need."""

from typing import Literal, get_args

PaperGroup = Literal[
    "mnist_ablation",
    "cifar10_ablation",
    "imagenet_ablation",
    "mnist_noise",
    "cifar10_noise",
    "same_data",
    "early_stopping",
    "hyperparameter_selection",
    "dropout",
    "batch_norm_ablation",
    "batch_norm_selectivity",
    "batch_norm_information",
    "mnist_importance",
    "cifar10_importance",
    "imagenet_importance",
    "clamping",
    "l1_norm",
    "information_importance",
]
PAPER_GROUPS: tuple[str, ...] = get_args(PaperGroup)
# Sections of the measurements without which a group's results cannot be measured.
PAPER_NEEDS: dict[str, tuple[str, ...]] = {
    "mnist_ablation": ("cumulative_ablation",),
    "cifar10_ablation": ("cumulative_ablation",),
    "imagenet_ablation": ("cumulative_ablation",),
    "mnist_noise": ("noise_robustness",),
    "cifar10_noise": ("noise_robustness",),
    "same_data": ("cumulative_ablation",),
    "early_stopping": ("cumulative_ablation",),
    "hyperparameter_selection": ("cumulative_ablation",),
    "dropout": ("cumulative_ablation",),
    "batch_norm_ablation": ("cumulative_ablation",),
    "batch_norm_selectivity": ("measures",),
    "batch_norm_information": ("measures",),
    "mnist_importance": ("measures", "unit_ablation"),
    "cifar10_importance": ("measures", "unit_ablation"),
    "imagenet_importance": ("measures", "unit_ablation"),
    "clamping": ("cumulative_ablation",),
    "l1_norm": ("measures",),
    "information_importance": ("measures", "unit_ablation"),
}
OVER_EPOCHS = ("early_stopping",)
