"""What a table of each kind holds."""

from dataclasses import dataclass

from unitlens.variables.declarations import NOISE, VARIABLES


@dataclass(frozen=True)
class Schema:
    """What a table of one kind holds: variables that must be there and ones that may be."""

    name: str
    version: int
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    dims: dict[str, tuple[str, ...]] | None = None  # where they differ from the declaration


_WHERE = ("layer", "depth", "channel")
_IMPORTANCE = ("loss_increase", "loss_increase_se", "accuracy_drop", "accuracy_drop_se")
_CLASS_IMPORTANCE = (  # where the targets are classes
    "class_loss_increase",
    "class_loss_increase_se",
    "class_accuracy_drop",
    "class_accuracy_drop_se",
    "class_accuracy_drop_max",
    "class_accuracy_drop_max_se",
    "most_damaged_class",
)
_FIRST_ORDER = ("loss_increase_first_order", "loss_increase_first_order_se")
_MEASURES = (
    "selectivity", "preferred_class", "dead", "undefined", "ccmas", "mutual_information",
    "mutual_information_se",
    "roc_auc", "roc_auc_bound", "roc_auc_class",
    "informedness", "informedness_bound", "informedness_class",
    "average_precision", "average_precision_bound", "average_precision_class",
    "class_correlation", "correlated_class", "sparsity", "zero_share",
    "precision_60", "precision_100",
)  # fmt: skip
_CURVE = ("accuracy", "loss", "ablated_fraction", "ablated_units")
_VARIANT = ("value", "basis")  # of each order
_MOMENTS = ("mean", "variance", "l1_norm", "class_mean")
_SPEC = (
    "dataset", "corruption", "model", "widths", "width", "dropout",
    "batch_norm", "epochs", "optimizer", "settings", "learning_rate", "batch_size",
    "weight_decay", "selectivity_regulariser", "seed", "classes",
)  # fmt: skip
_RUN_SUMMARY = (
    "auc",
    "auc_normalized",
    "noise_scale_at_half",
    "mean_selectivity",
    "mean_mutual_information",
    "units",
    "dead_units",
)
_RUN_SCORES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def _along(dim: str, *names: str) -> dict[str, tuple[str, ...]]:
    """Return the dimensions of variables of a unit where they are of something else."""
    return {name: (dim, *VARIABLES[name].dims[1:]) for name in names}


def _with_run(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: ("run", *VARIABLES[name].dims) for name in names}


SCHEMAS = {
    schema.name: schema
    for schema in (
        Schema(
            "class_statistics",
            2,
            (
                *_WHERE,
                "count",
                "class_mean",
                "class_variance",
                "class_minimum",
                "class_maximum",
                "class_nonzero",
                "histogram",
                "bin_edges",
                "top_activation",
                "top_sample",
                "top_class",
            ),
        ),
        Schema("class_means", 1, (*_WHERE, "count", "class_mean")),
        Schema("unit_measures", 2, (*_WHERE, *_MEASURES, *_MOMENTS)),
        Schema(
            "principal_components",
            1,
            (*_WHERE, "component", "explained_variance", "explained_variance_ratio", "mean"),
        ),
        Schema(
            "layer_dimensionality",
            1,
            ("layer", "depth", "participation_ratio", "components_95"),
            dims=dict.fromkeys(("layer", "depth"), ("layer",)),
        ),
        Schema("unit_ablation", 1, (*_WHERE, *_IMPORTANCE), (*_CLASS_IMPORTANCE, *_FIRST_ORDER)),
        Schema(
            "direction_ablation",
            1,
            ("layer", "depth", *_IMPORTANCE),
            _CLASS_IMPORTANCE,
            dims=_along("direction", "layer", "depth", *_IMPORTANCE, *_CLASS_IMPORTANCE),
        ),
        Schema(
            "group_ablation",
            1,
            (*_IMPORTANCE, "group_size"),
            _CLASS_IMPORTANCE,
            dims=_along("group", *_IMPORTANCE, *_CLASS_IMPORTANCE),
        ),
        Schema("cumulative_ablation", 1, _CURVE, _VARIANT),
        Schema(
            "noise_robustness",
            1,
            ("accuracy", "loss"),
            dims={"accuracy": NOISE, "loss": NOISE},
        ),
        Schema(
            "units",
            1,
            _WHERE,
            (
                *_MEASURES,
                *_MOMENTS,
                *_IMPORTANCE,
                *_CLASS_IMPORTANCE,
                *_FIRST_ORDER,
            ),
        ),
        Schema("runs", 1, (*_RUN_SCORES, *_SPEC, *_RUN_SUMMARY, "member")),
        Schema(
            "curves",
            1,
            _CURVE,
            _VARIANT,
            dims=_with_run(*_CURVE),
        ),
        Schema(
            "noise",
            1,
            ("accuracy", "loss"),
            dims={"accuracy": ("run", *NOISE), "loss": ("run", *NOISE)},
        ),
        Schema(
            "history",
            1,
            _RUN_SCORES,
            dims=dict.fromkeys(_RUN_SCORES, ("epoch",)),
        ),
        Schema("histories", 1, _RUN_SCORES, dims=dict.fromkeys(_RUN_SCORES, ("run", "epoch"))),
        Schema(
            "correlations",
            1,
            ("scope", "layer", "depth", "target", "measure", "spearman", "p_value", "n"),
            dims=dict.fromkeys(("layer", "depth"), ("row",)),
        ),
    )
}
