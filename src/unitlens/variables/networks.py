"""Declarations of networks as wholes, and of correlations over their units."""

from unitlens.variables.declaration import TEXT, Variable, declare

_RUN, _ROW = ("run",), ("row",)

VARIABLES = declare(
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
    Variable("dataset", _RUN, TEXT, "", "data set", "name of the data set"),
    Variable("corruption", _RUN, "f", "1", "label corruption", "fraction of the training labels that was permuted among itself"),
    Variable("model", _RUN, TEXT, "", "model", "name of the model"),
    Variable("widths", _RUN, TEXT, "", "widths", "units of each hidden layer or channels of each convolution, before the width factor"),
    Variable("width", _RUN, "f", "1", "width factor", "factor on the channels of each convolution; NaN where there is none"),
    Variable("dropout", _RUN, "f", "1", "dropout", "probability that a unit was dropped in training; NaN where the configuration does not say"),
    Variable("batch_norm", _RUN, "i", "", "batch norm", "1 with batch norm, 0 without, -1 where the configuration does not say"),
    Variable("epochs", _RUN, "i", "epochs", "epochs asked for", "number of epochs of training that the configuration asks for, 0 where nothing was trained"),
    Variable("settings", _RUN, TEXT, "", "other settings", "every other field of the spec that is not at its default, as key=value"),
    Variable("optimizer", _RUN, TEXT, "", "optimiser", "name of the optimiser; empty where nothing was trained"),
    Variable("learning_rate", _RUN, "f", "", "learning rate", "learning rate at the start; NaN where nothing was trained"),
    Variable("batch_size", _RUN, "i", "samples", "batch size", "samples a step of training, -1 where nothing was trained"),
    Variable("weight_decay", _RUN, "f", "", "weight decay", "weight decay; NaN where nothing was trained"),
    Variable("selectivity_regulariser", _RUN, "f", "", "selectivity regulariser", "alpha of loss = cross-entropy - alpha x mean selectivity; NaN where nothing was trained"),
    Variable("seed", _RUN, "iu", "", "seed", "seed of the initial weights, the order of the samples and the corruption"),
    Variable("classes", _RUN, "iu", "classes", "classes", "number of classes"),
    # correlations
    Variable("scope", _ROW, TEXT, "", "scope", "units that a row is over: run (all of a network), layer (one layer of a network) or pooled (all networks of an experiment)"),
    Variable("target", _ROW, TEXT, "", "target", "variable of the units that the measure is correlated with"),
    Variable("measure", _ROW, TEXT, "", "measure", "variable of the units"),
    Variable("spearman", _ROW, "f", "1", "Spearman correlation", "rank correlation with mean ranks for ties; NaN where it is undefined"),
    Variable("p_value", _ROW, "f", "1", "p", "two-sided p-value of the correlation, t distribution; NaN for fewer than ten pairs"),
    Variable("n", _ROW, "iu", "units", "n", "number of units with both values"),
)  # fmt: skip
