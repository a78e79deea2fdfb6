"""The schemas: the variables that a table of each kind holds."""

from dataclasses import dataclass

from unitlens.catalogue.measures import MEASURES, Measure
from unitlens.variables.declarations import MEASURED, NOISE, VARIABLES


@dataclass(frozen=True)
class Schema:
    """The variables that a table of one kind holds.

    Attributes
    ----------
    name
        Name of the schema.
    version
        Version of the schema; a table of another version is refused.
    required
        Names of the variables that every table of the kind holds.
    optional
        Names of the variables that a table of the kind may hold.
    of_classes
        Names of the variables that a table of the kind holds too, unless its attribute
        ``no_classes`` says that the samples have no classes.
    dims
        Dimensions of the variables whose dimensions in the table are not the declared ones.
    """

    name: str
    version: int
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    dims: dict[str, tuple[str, ...]] | None = None
    of_classes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables that a table of the kind may hold."""
        return (*self.required, *self.of_classes, *self.optional)


_WHERE = ("layer", "depth", "channel")
_IMPORTANCE = ("loss_increase", "loss_increase_se", "accuracy_drop", "accuracy_drop_se")
_CLASS_IMPORTANCE = (  # only where the targets are classes
    "class_loss_increase",
    "class_loss_increase_se",
    "class_accuracy_drop",
    "class_accuracy_drop_se",
    "class_accuracy_drop_max",
    "class_accuracy_drop_max_se",
    "most_damaged_class",
)
# Variables with the ends of a 95 % interval over samples, `_low` and `_high`; not in tables of
# unitlens before 0.9.
ACCURACY_DROPS = ("accuracy_drop", "class_accuracy_drop", "class_accuracy_drop_max")
_INTERVALS = tuple(f"{name}_{end}" for name in ACCURACY_DROPS for end in ("low", "high"))
_FIRST_ORDER = ("loss_increase_first_order", "loss_increase_first_order_se")
_SAMPLED = (  # only where pairs of a unit and a sample are drawn
    "loss_increase_sampling_se",
    "loss_increase_low",
    "loss_increase_high",
    "accuracy_drop_sampling_se",
    "pairs",
    "effective_samples",
)
_CLASS_SAMPLED = ("class_loss_increase_sampling_se", "class_accuracy_drop_sampling_se")
_OPTIONAL = (*_CLASS_IMPORTANCE, *_INTERVALS, *_SAMPLED, *_CLASS_SAMPLED)
_OF_CLASSES = (
    *(of.name for m in MEASURES if m.of_classes for of in m.variables if of.name != "dead"),
    "class_mean",
)
_MEASURES = (*MEASURED, "class_mean")
_CURVE = ("accuracy", "loss", "ablated_fraction", "ablated_units")
_VARIANT = ("value", "basis")  # of each order
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


def computed_measures() -> tuple[Measure, ...]:
    """Return the measures that are computed from class statistics, in the order of a table.

    The digest of a rule's code does not cover this room: a label or a flag of the catalogue
    changes no number of the table of unit measures.
    """
    return tuple(measure for measure in MEASURES if measure.module)


def _along(dim: str, *names: str) -> dict[str, tuple[str, ...]]:
    """Return the dimensions of variables with `dim` in place of their first dimension."""
    return {name: (dim, *VARIABLES[name].dims[1:]) for name in names}


def _with_run(*names: str) -> dict[str, tuple[str, ...]]:
    """Return the dimensions of variables with ``run`` before their declared dimensions."""
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
        Schema(
            "unit_measures",
            3,
            (*_WHERE, *(name for name in MEASURED if name not in _OF_CLASSES)),
            of_classes=_OF_CLASSES,
        ),
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
        Schema(
            "unit_ablation",
            1,
            (*_WHERE, *_IMPORTANCE),
            (*_OPTIONAL, *_FIRST_ORDER),
        ),
        Schema(
            "direction_ablation",
            1,
            ("layer", "depth", *_IMPORTANCE),
            _OPTIONAL,
            dims=_along("direction", "layer", "depth", *_IMPORTANCE, *_OPTIONAL),
        ),
        Schema(
            "group_ablation",
            1,
            (*_IMPORTANCE, "group_size"),
            _OPTIONAL,
            dims=_along("group", *_IMPORTANCE, *_OPTIONAL),
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
                *_IMPORTANCE,
                *_OPTIONAL,
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
            ("reliability", "spearman_corrected"),
            dims=dict.fromkeys(("layer", "depth"), ("row",)),
        ),
    )
}
