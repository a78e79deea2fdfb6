"""unitlens: what every single unit of a trained network does, and how much it is needed.

The names below are the public API. They are loaded when they are first used, so that importing
the package, or running a command that needs none of torch, costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unitlens import plot as plot
    from unitlens.analysis.correlations import rank_correlations
    from unitlens.analysis.curve_summaries import (
        area_under_curve,
        noise_scale_at,
        random_orders,
    )
    from unitlens.config.base import LastLayers
    from unitlens.errors import RepeatabilityWarning, ScoreWarning, UnitsWarning
    from unitlens.explorer.explore import explore
    from unitlens.model.declared import layer
    from unitlens.model.unit_listing import unit_layers
    from unitlens.perturbation.cumulative_ablation import cumulative_ablation
    from unitlens.perturbation.direction_ablation import direction_ablation
    from unitlens.perturbation.group_ablation import group_ablation
    from unitlens.perturbation.group_members import random_groups
    from unitlens.perturbation.merge_tables import merge_tables
    from unitlens.perturbation.noise_robustness import noise_robustness
    from unitlens.perturbation.unit_ablation import unit_ablation
    from unitlens.recording.network_statistics import network_statistics
    from unitlens.recording.record import record_activations
    from unitlens.recording.repair import repair_activations
    from unitlens.statistics.class_means import class_means
    from unitlens.statistics.class_statistics import class_statistics
    from unitlens.statistics.measures.class_correlation import class_correlation
    from unitlens.statistics.measures.class_selectivity import (
        ccmas,
        class_selectivity,
    )
    from unitlens.statistics.measures.detection import (
        average_precision,
        informedness,
        roc_auc,
    )
    from unitlens.statistics.measures.information import mutual_information
    from unitlens.statistics.measures.sparsity import sparsity
    from unitlens.statistics.measures.top_precision import top_precision
    from unitlens.statistics.measures.variance import empirical_variance
    from unitlens.statistics.subspaces.dimensionality import layer_dimensionality
    from unitlens.statistics.subspaces.principal_components import principal_components
    from unitlens.statistics.subspaces.random_directions import random_directions
    from unitlens.store.merge import merge_activations
    from unitlens.store.reader import open_activations
    from unitlens.store.verify import verify_activations
    from unitlens.store.verify import verify_store as verify_store
    from unitlens.tables.results import open_results
    from unitlens.training.weight_loading import load_weights

__version__ = "0.10.1"

_HOMES = {
    "LastLayers": "unitlens.config.base",
    "RepeatabilityWarning": "unitlens.errors",
    "ScoreWarning": "unitlens.errors",
    "UnitsWarning": "unitlens.errors",
    "area_under_curve": "unitlens.analysis.curve_summaries",
    "average_precision": "unitlens.statistics.measures.detection",
    "ccmas": "unitlens.statistics.measures.class_selectivity",
    "class_correlation": "unitlens.statistics.measures.class_correlation",
    "class_means": "unitlens.statistics.class_means",
    "class_selectivity": "unitlens.statistics.measures.class_selectivity",
    "class_statistics": "unitlens.statistics.class_statistics",
    "cumulative_ablation": "unitlens.perturbation.cumulative_ablation",
    "direction_ablation": "unitlens.perturbation.direction_ablation",
    "empirical_variance": "unitlens.statistics.measures.variance",
    "explore": "unitlens.explorer.explore",
    "group_ablation": "unitlens.perturbation.group_ablation",
    "informedness": "unitlens.statistics.measures.detection",
    "layer": "unitlens.model.declared",
    "layer_dimensionality": "unitlens.statistics.subspaces.dimensionality",
    "load_weights": "unitlens.training.weight_loading",
    "merge_activations": "unitlens.store.merge",
    "mutual_information": "unitlens.statistics.measures.information",
    "merge_tables": "unitlens.perturbation.merge_tables",
    "network_statistics": "unitlens.recording.network_statistics",
    "noise_robustness": "unitlens.perturbation.noise_robustness",
    "noise_scale_at": "unitlens.analysis.curve_summaries",
    "open_activations": "unitlens.store.reader",
    "open_results": "unitlens.tables.results",
    "principal_components": "unitlens.statistics.subspaces.principal_components",
    "random_directions": "unitlens.statistics.subspaces.random_directions",
    "random_groups": "unitlens.perturbation.group_members",
    "random_orders": "unitlens.analysis.curve_summaries",
    "rank_correlations": "unitlens.analysis.correlations",
    "record_activations": "unitlens.recording.record",
    "repair_activations": "unitlens.recording.repair",
    "roc_auc": "unitlens.statistics.measures.detection",
    "sparsity": "unitlens.statistics.measures.sparsity",
    "top_precision": "unitlens.statistics.measures.top_precision",
    "unit_ablation": "unitlens.perturbation.unit_ablation",
    "unit_layers": "unitlens.model.unit_listing",
    "verify_activations": "unitlens.store.verify",
    "verify_store": "unitlens.store.verify",  # a former name, which warns
}

__all__ = [
    "LastLayers",
    "RepeatabilityWarning",
    "ScoreWarning",
    "UnitsWarning",
    "area_under_curve",
    "average_precision",
    "ccmas",
    "class_correlation",
    "class_means",
    "class_selectivity",
    "class_statistics",
    "cumulative_ablation",
    "direction_ablation",
    "empirical_variance",
    "explore",
    "group_ablation",
    "informedness",
    "layer",
    "layer_dimensionality",
    "load_weights",
    "merge_activations",
    "merge_tables",
    "mutual_information",
    "network_statistics",
    "noise_robustness",
    "noise_scale_at",
    "open_activations",
    "open_results",
    "principal_components",
    "random_directions",
    "random_groups",
    "random_orders",
    "rank_correlations",
    "record_activations",
    "repair_activations",
    "roc_auc",
    "sparsity",
    "top_precision",
    "unit_ablation",
    "unit_layers",
    "verify_activations",
]


def __getattr__(name: str) -> Any:
    if name == "plot":  # a package with names of its own
        return import_module("unitlens.plot")
    if name not in _HOMES:
        raise AttributeError(f"module 'unitlens' has no attribute '{name}'")
    from unitlens.extras import naming_extras

    with naming_extras():
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, "plot"]
