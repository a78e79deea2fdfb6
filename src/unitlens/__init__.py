"""unitlens: what every single unit of a trained network does, and how much it is needed.

The names below are the public API. They are loaded when they are first used, so that importing
the package, or running a command that needs none of torch, costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unitlens.networks.layers import unit_layers
    from unitlens.perturbation.ablation import unit_ablation
    from unitlens.perturbation.cumulative import cumulative_ablation
    from unitlens.perturbation.directions import direction_ablation
    from unitlens.perturbation.groups import group_ablation
    from unitlens.perturbation.membership import random_groups
    from unitlens.perturbation.noise import noise_robustness
    from unitlens.recording import record_activations, repair_activations
    from unitlens.recording.streaming import network_statistics
    from unitlens.statistics import (
        average_precision,
        ccmas,
        class_correlation,
        class_means,
        class_selectivity,
        class_statistics,
        empirical_variance,
        informedness,
        layer_dimensionality,
        mutual_information,
        principal_components,
        random_directions,
        roc_auc,
        sparsity,
        top_precision,
    )
    from unitlens.store.merge import merge_activations
    from unitlens.store.reader import open_activations
    from unitlens.store.verify import verify_store
    from unitlens.tables import open_results

__version__ = "0.1.0"

_HOMES = {
    "unit_layers": "unitlens.networks.layers",
    "record_activations": "unitlens.recording",
    "network_statistics": "unitlens.recording.streaming",
    "repair_activations": "unitlens.recording",
    "merge_activations": "unitlens.store.merge",
    "open_activations": "unitlens.store.reader",
    "class_means": "unitlens.statistics",
    "verify_store": "unitlens.store.verify",
    "class_statistics": "unitlens.statistics",
    "class_selectivity": "unitlens.statistics",
    "mutual_information": "unitlens.statistics",
    "empirical_variance": "unitlens.statistics",
    "roc_auc": "unitlens.statistics",
    "informedness": "unitlens.statistics",
    "average_precision": "unitlens.statistics",
    "ccmas": "unitlens.statistics",
    "class_correlation": "unitlens.statistics",
    "top_precision": "unitlens.statistics",
    "sparsity": "unitlens.statistics",
    "layer_dimensionality": "unitlens.statistics",
    "principal_components": "unitlens.statistics",
    "random_directions": "unitlens.statistics",
    "unit_ablation": "unitlens.perturbation.ablation",
    "cumulative_ablation": "unitlens.perturbation.cumulative",
    "group_ablation": "unitlens.perturbation.groups",
    "random_groups": "unitlens.perturbation.membership",
    "direction_ablation": "unitlens.perturbation.directions",
    "noise_robustness": "unitlens.perturbation.noise",
    "open_results": "unitlens.tables",
}

__all__ = [
    "average_precision",
    "ccmas",
    "class_correlation",
    "class_means",
    "class_selectivity",
    "class_statistics",
    "cumulative_ablation",
    "direction_ablation",
    "empirical_variance",
    "group_ablation",
    "informedness",
    "layer_dimensionality",
    "merge_activations",
    "mutual_information",
    "network_statistics",
    "noise_robustness",
    "open_activations",
    "open_results",
    "principal_components",
    "random_directions",
    "random_groups",
    "record_activations",
    "repair_activations",
    "roc_auc",
    "sparsity",
    "top_precision",
    "unit_ablation",
    "unit_layers",
    "verify_store",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unitlens' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
