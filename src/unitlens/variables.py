"""Every dimension and variable of unitlens' tables, declared once.

The declarations feed three things: the check of every table that is written or read
(:func:`validate`), the attributes that every variable carries (:func:`annotate`), and the
documentation.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from unitlens.errors import TableError, nearest

DIMENSIONS = {
    "sample": "samples of one split, in the order of the data set",
    "unit": "units, in the order of the layers in the forward pass, then by channel",
    "direction": "directions of one layer: vectors over its units",
    "group": "groups of units that are ablated at once",
    "class": "classes, as integers from 0",
    "bin": "bins of a unit's activation histogram, ascending",
    "bin_edge": "edges of those bins, ascending, one more than there are bins",
    "order": "orders in which units, or directions, are ablated cumulatively",
    "ablated": "steps of a cumulative ablation, from none to all units, or directions",
    "draw": "independent draws of the noise",
    "noise_scale": "standard deviation of the noise in units of each unit's own",
    "run": "trained networks",
    "epoch": "epochs of training",
    "experiment": "families of runs, as the configuration names them",
    "row": "rows of the table of correlations",
}


@dataclass(frozen=True)
class Variable:
    """One declared variable.

    `kind` holds the allowed NumPy dtype kinds: f float, i and u integer, b bool, U and O text.
    """

    name: str
    dims: tuple[str, ...]
    kind: str
    units: str
    long_name: str
    description: str


def _declare(*variables: Variable) -> dict[str, Variable]:
    return {variable.name: variable for variable in variables}


_TEXT = "UOT"
_UNIT, _UNIT_CLASS = ("unit",), ("unit", "class")
_CURVE, _NOISE, _RUN = ("order", "ablated"), ("draw", "noise_scale"), ("run",)
_ROW = ("row",)

VARIABLES = _declare(
    # coordinates
    Variable("layer", _UNIT, _TEXT, "", "layer", "name of the layer the unit lives in"),
    Variable("depth", _UNIT, "iu", "", "depth", "index of the layer in the forward pass, from 0"),
    Variable("channel", _UNIT, "iu", "", "channel", "index of the unit in its layer, from 0"),
    Variable("index", ("sample",), "iu", "", "sample index", "index of the sample in its data set"),
    Variable("label", ("sample",), "iu", "", "label", "label as the network was trained on it"),
    Variable("true_label", ("sample",), "iu", "", "true label", "label before any corruption"),
    Variable("prediction", ("sample",), "iu", "", "prediction", "class of the largest logit"),
    # activations
    Variable("activation", ("sample", "unit"), "f", "activation", "activation", "a unit's value for a sample, after the nonlinearity; of a feature map, reduced over positions"),
    Variable("activation_mean", ("sample", "unit"), "f", "activation", "mean activation", "mean of a feature map over its positions"),
    Variable("activation_max", ("sample", "unit"), "f", "activation", "largest activation", "maximum of a feature map over its positions"),
    Variable("activation_active", ("sample", "unit"), "f", "share", "active share", "share of a feature map's positions that are not zero"),
    Variable("minimum", _UNIT, "f", "activation", "minimum", "smallest activation over the samples"),
    Variable("maximum", _UNIT, "f", "activation", "maximum", "largest activation over the samples"),
    # class statistics
    Variable("count", ("class",), "iu", "samples", "samples of a class", "number of samples whose label is this class"),
    Variable("class_mean", _UNIT_CLASS, "f", "activation", "class mean", "mean activation over the samples of a class"),
    Variable("class_variance", _UNIT_CLASS, "f", "activation^2", "class variance", "population variance of the activation over the samples of a class"),
    Variable("class_minimum", _UNIT_CLASS, "f", "activation", "class minimum", "smallest activation over the samples of a class"),
    Variable("class_maximum", _UNIT_CLASS, "f", "activation", "class maximum", "largest activation over the samples of a class"),
    Variable("class_nonzero", _UNIT_CLASS, "f", "1", "share of non-zero", "share of the samples of a class on which the activation is not zero"),
    Variable("histogram", ("unit", "class", "bin"), "iu", "samples", "activation histogram", "number of samples of a class whose activation falls into a bin"),
    Variable("bin_edges", ("unit", "bin_edge"), "f", "activation", "bin edges", "edges of the histogram's bins"),
    # measures of a unit
    Variable("selectivity", _UNIT, "f", "1", "class selectivity", "(mu_max - mu_rest) / (mu_max + mu_rest) of the class-conditional mean activations"),
    Variable("preferred_class", _UNIT, "i", "", "preferred class", "class with the largest mean activation, -1 where undefined"),
    Variable("dead", _UNIT, "b", "", "dead", "the activation is zero on every sample"),
    Variable("undefined", _UNIT, _TEXT, "", "reason for NaN", "why the selectivity is undefined; empty where it is defined"),
    Variable("mutual_information", _UNIT, "f", "nats", "mutual information", "mutual information of the binned activation and the class, Miller-Madow corrected"),
    Variable("variance", _UNIT, "f", "activation^2", "empirical variance", "population variance of the activation over the samples"),
    Variable("mean", _UNIT, "f", "activation", "mean activation", "mean activation over the samples"),
    Variable("l1_norm", _UNIT, "f", "1", "L1 norm", "sum of the absolute incoming weights of the unit, NaN where the layer has none of its own"),
    # directions
    Variable("component", ("direction", "unit"), "f", "1", "component", "component of a direction along a unit; the directions of a table are orthonormal"),
    Variable("explained_variance", ("direction",), "f", "activation^2", "explained variance", "population variance over the samples of the activations projected on a direction"),
    Variable("explained_variance_ratio", ("direction",), "f", "1", "explained variance ratio", "explained variance as a share of the sum of the variances of all units; NaN where that is zero"),
    # importance
    Variable("loss_increase", _UNIT, "f", "nats", "loss increase", "mean loss with the ablation minus without; cross-entropy, unless scored by a function of your own"),
    Variable("loss_increase_se", _UNIT, "f", "nats", "standard error of the loss increase", "paired over samples"),
    Variable("loss_increase_first_order", _UNIT, "f", "nats", "first-order loss increase", "what the gradient of the loss at the activations makes of the loss increase: mean over samples of the sum over positions of (value - activation) x gradient"),
    Variable("loss_increase_first_order_se", _UNIT, "f", "nats", "standard error of the first-order loss increase", "over samples"),
    Variable("accuracy_drop", _UNIT, "f", "1", "accuracy drop", "accuracy (share of hits) without ablation minus accuracy with it"),
    Variable("accuracy_drop_se", _UNIT, "f", "1", "standard error of the accuracy drop", "paired over samples"),
    Variable("class_loss_increase", _UNIT_CLASS, "f", "nats", "loss increase of a class", "loss increase over the samples of a class"),
    Variable("class_loss_increase_se", _UNIT_CLASS, "f", "nats", "standard error of a class's loss increase", "paired over samples"),
    Variable("class_accuracy_drop", _UNIT_CLASS, "f", "1", "accuracy drop of a class", "accuracy drop over the samples of a class"),
    Variable("class_accuracy_drop_se", _UNIT_CLASS, "f", "1", "standard error of a class's accuracy drop", "paired over samples"),
    Variable("class_accuracy_drop_max", _UNIT, "f", "1", "largest accuracy drop of a class", "accuracy drop over the samples of the class that loses most; the largest of noisy drops is biased upwards"),
    Variable("class_accuracy_drop_max_se", _UNIT, "f", "1", "standard error of the largest accuracy drop of a class", "that of the chosen class's accuracy drop, paired over samples; the choice is not part of it"),
    Variable("most_damaged_class", _UNIT, "i", "", "most damaged class", "class whose accuracy drops most, -1 where not measured"),
    Variable("group_size", ("group",), "iu", "units", "size of the group", "number of units that are ablated at once"),
    # curves
    Variable("accuracy", _CURVE, "f", "1", "accuracy", "share of samples that are hits: the largest logit is the label's, or the score asked for says so"),
    Variable("loss", _CURVE, "f", "nats", "loss", "mean cross-entropy"),
    Variable("ablated_fraction", ("ablated",), "f", "1", "ablated fraction", "share of the units of the chosen layers, or of the directions of the basis, that are ablated"),
    Variable("ablated_units", ("ablated",), "iu", "units", "ablated units", "number of units, or of directions of the basis, that are ablated"),
    # runs
    Variable("auc", _RUN, "f", "1", "AUC", "mean accuracy over the cumulative ablation curve of random orders, trapezoid over the ablated fraction"),
    Variable("auc_normalized", _RUN, "f", "1", "normalised AUC", "AUC divided by the largest of the table"),
    Variable("train_accuracy", _RUN, "f", "1", "train accuracy", "accuracy on the training set, scored against the labels trained on"),
    Variable("test_accuracy", _RUN, "f", "1", "test accuracy", "accuracy on the test set"),
    Variable("train_loss", _RUN, "f", "nats", "train loss", "mean cross-entropy on the training set"),
    Variable("test_loss", _RUN, "f", "nats", "test loss", "mean cross-entropy on the test set"),
    Variable("noise_scale_at_half", _RUN, "f", "1", "noise scale at half accuracy", "noise scale at which the accuracy, averaged over draws, falls to one half; NaN where it does not"),
    Variable("mean_selectivity", _RUN, "f", "1", "mean selectivity", "mean class selectivity of the units for which it is defined"),
    Variable("mean_mutual_information", _RUN, "f", "nats", "mean mutual information", "mean mutual information of the units"),
    Variable("units", _RUN, "iu", "units", "units", "number of units measured, -1 where not measured"),
    Variable("dead_units", _RUN, "iu", "units", "dead units", "number of units that are zero on every sample, -1 where not measured"),
    Variable("member", ("run", "experiment"), "b", "", "member", "whether the experiment has the run among its networks"),
    # what a run is
    Variable("dataset", _RUN, _TEXT, "", "data set", "name of the data set"),
    Variable("corruption", _RUN, "f", "1", "label corruption", "fraction of the training labels that was permuted among itself"),
    Variable("model", _RUN, _TEXT, "", "model", "name of the model"),
    Variable("widths", _RUN, _TEXT, "", "widths", "units of each hidden layer or channels of each convolution, before the width factor"),
    Variable("width", _RUN, "f", "1", "width factor", "factor on the channels of each convolution; NaN where there is none"),
    Variable("dropout", _RUN, "f", "1", "dropout", "probability that a unit was dropped in training; NaN where the configuration does not say"),
    Variable("batch_norm", _RUN, "i", "", "batch norm", "1 with batch norm, 0 without, -1 where the configuration does not say"),
    Variable("epochs", _RUN, "i", "epochs", "epochs asked for", "number of epochs of training that the configuration asks for, 0 where nothing was trained"),
    Variable("settings", _RUN, _TEXT, "", "other settings", "every other field of the spec that is not at its default, as key=value"),
    Variable("optimizer", _RUN, _TEXT, "", "optimiser", "name of the optimiser; empty where nothing was trained"),
    Variable("learning_rate", _RUN, "f", "", "learning rate", "learning rate at the start; NaN where nothing was trained"),
    Variable("batch_size", _RUN, "i", "samples", "batch size", "samples a step of training, -1 where nothing was trained"),
    Variable("weight_decay", _RUN, "f", "", "weight decay", "weight decay; NaN where nothing was trained"),
    Variable("selectivity_regulariser", _RUN, "f", "", "selectivity regulariser", "alpha of loss = cross-entropy - alpha x mean selectivity; NaN where nothing was trained"),
    Variable("seed", _RUN, "iu", "", "seed", "seed of the initial weights, the order of the samples and the corruption"),
    Variable("classes", _RUN, "iu", "classes", "classes", "number of classes"),
    # correlations
    Variable("scope", _ROW, _TEXT, "", "scope", "units that a row is over: run (all of a network), layer (one layer of a network) or pooled (all networks of an experiment)"),
    Variable("target", _ROW, _TEXT, "", "target", "variable of the units that the measure is correlated with"),
    Variable("measure", _ROW, _TEXT, "", "measure", "variable of the units"),
    Variable("spearman", _ROW, "f", "1", "Spearman correlation", "rank correlation with mean ranks for ties; NaN where it is undefined"),
    Variable("p_value", _ROW, "f", "1", "p", "two-sided p-value of the correlation, t distribution; NaN for fewer than ten pairs"),
    Variable("n", _ROW, "iu", "units", "n", "number of units with both values"),
)  # fmt: skip


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
_MEASURES = ("selectivity", "preferred_class", "dead", "undefined", "mutual_information")
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
            1,
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
            ),
        ),
        Schema("unit_measures", 1, (*_WHERE, *_MEASURES, *_MOMENTS)),
        Schema(
            "principal_components",
            1,
            (*_WHERE, "component", "explained_variance", "explained_variance_ratio", "mean"),
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
        Schema("cumulative_ablation", 1, ("accuracy", "loss", "ablated_fraction", "ablated_units")),
        Schema(
            "noise_robustness",
            1,
            ("accuracy", "loss"),
            dims={"accuracy": _NOISE, "loss": _NOISE},
        ),
        Schema(
            "units",
            1,
            _WHERE,
            (*_MEASURES, *_MOMENTS, *_IMPORTANCE, *_CLASS_IMPORTANCE, *_FIRST_ORDER),
        ),
        Schema("runs", 1, (*_RUN_SCORES, *_SPEC, *_RUN_SUMMARY, "member")),
        Schema(
            "curves",
            1,
            ("accuracy", "loss", "ablated_fraction", "ablated_units"),
            dims=_with_run("accuracy", "loss", "ablated_fraction", "ablated_units"),
        ),
        Schema(
            "noise",
            1,
            ("accuracy", "loss"),
            dims={"accuracy": ("run", *_NOISE), "loss": ("run", *_NOISE)},
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


def validate(dataset: xr.Dataset, schema: str) -> None:
    """Check that `dataset` is a table of the kind `schema`.

    Parameters
    ----------
    dataset
        The table.
    schema
        Name of a schema, one of :data:`SCHEMAS`.

    Raises
    ------
    TableError
        Where a variable is missing, or has other dimensions or another kind of dtype than
        declared, or the table says that it follows another schema or version.
    """
    rules = SCHEMAS[schema]
    said = (dataset.attrs.get("schema", schema), dataset.attrs.get("schema_version", rules.version))
    if said != (rules.name, rules.version):
        raise TableError(
            f"the table follows schema {said[0]} version {said[1]}, but {rules.name} version "
            f"{rules.version} is read here; make it again with this version of unitlens"
        )
    for name in rules.required:
        if name not in dataset.variables:
            raise TableError(
                f"the {schema} table has no variable '{name}', which its schema requires; "
                f"{nearest(name, map(str, dataset.variables))}"
            )
    for name in (*rules.required, *rules.optional):
        if name in dataset.variables:
            _check_variable(dataset[name], _dims(rules, name), schema)


def _dims(rules: Schema, name: str) -> tuple[str, ...]:
    return (rules.dims or {}).get(name, VARIABLES[name].dims)


def _check_variable(array: xr.DataArray, dims: tuple[str, ...], schema: str) -> None:
    declared = VARIABLES[str(array.name)]
    if array.dims != dims:
        raise TableError(
            f"'{array.name}' of the {schema} table has dimensions {array.dims}, but they must be "
            f"{dims}; transpose or rename them"
        )
    if array.dtype.kind not in declared.kind:
        raise TableError(
            f"'{array.name}' of the {schema} table has dtype {array.dtype}, but its kind must be "
            f"one of '{declared.kind}'; cast it"
        )


def annotate(dataset: xr.Dataset, schema: str) -> xr.Dataset:
    """Return `dataset` with the declared attributes on every variable, checked.

    Parameters
    ----------
    dataset
        A table that holds what its schema requires.
    schema
        Name of a schema, one of :data:`SCHEMAS`.

    Returns
    -------
    A shallow copy with ``long_name``, ``units`` and ``description`` on each declared variable,
    ``description`` on each dimension coordinate, and the schema's name and version.

    Raises
    ------
    TableError
        As :func:`validate`.
    """
    rules = SCHEMAS[schema]
    dataset = dataset.assign_attrs(schema=rules.name, schema_version=rules.version)
    validate(dataset, schema)
    for name, array in dataset.variables.items():
        if name in VARIABLES:
            declared = VARIABLES[str(name)]
            array.attrs.update(
                long_name=declared.long_name,
                units=declared.units,
                description=declared.description,
            )
        elif name in DIMENSIONS:
            array.attrs.update(description=DIMENSIONS[str(name)])
    return dataset


def unit_coordinates(layers: Iterable[tuple[str, int, int]]) -> dict[str, xr.DataArray]:
    """Return the coordinates of the `unit` dimension.

    Parameters
    ----------
    layers
        Name, depth and number of units of each layer, in the order of the forward pass.

    Returns
    -------
    ``layer``, ``depth`` and ``channel``, each of shape (units,).
    """
    rows = list(layers)
    counts = [units for _, _, units in rows]
    channels = [np.arange(units) for units in counts]
    values = {
        "layer": np.repeat(np.array([name for name, _, _ in rows], dtype=object), counts),
        "depth": np.repeat(np.array([depth for _, depth, _ in rows], dtype=np.int64), counts),
        "channel": np.concatenate(channels) if channels else np.empty(0, np.int64),
    }
    return {name: xr.DataArray(array, dims="unit") for name, array in values.items()}
