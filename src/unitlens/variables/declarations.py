"""Declarations of every variable of a table: name, dimensions, dtype kind, units, meaning.

The variables of the measures of a unit are declared with the measures, in
:mod:`unitlens.catalogue.measures`.
"""

from unitlens.catalogue.measures import MEASURES
from unitlens.variables.variable import TEXT, UNIT, UNIT_CLASS, Variable, declare

_RANKED = ("unit", "rank")
ACTIVATIONS = declare(
    # coordinates
    Variable("layer", UNIT, TEXT, "", "layer", "name of the layer the unit lives in"),
    Variable("depth", UNIT, "iu", "", "depth", "index of the layer in the forward pass, from 0"),
    Variable("channel", UNIT, "iu", "", "channel", "index of the unit in its layer, from 0"),
    Variable("index", ("sample",), "iu", "", "sample index", "index of the sample in its data set"),
    Variable("label", ("sample",), "iu", "", "label", "label as the network was trained on it"),
    Variable("true_label", ("sample",), "iu", "", "true label", "label before any corruption"),
    Variable("prediction", ("sample",), "iu", "", "prediction", "class of the largest logit"),
    Variable("item", ("sample",), "iu", "", "item", "index in the data set of the item that a position is of"),
    Variable("position", ("sample",), "iu", "", "position", "index of a position in its item, axis after axis within the attribute position_shape"),
    # activations
    Variable("activation", ("sample", "unit"), "f", "activation", "activation", "a unit's value for a sample, after the nonlinearity; of a feature map, reduced over positions"),
    Variable("activation_mean", ("sample", "unit"), "f", "activation", "mean activation", "mean of a feature map over its positions"),
    Variable("activation_max", ("sample", "unit"), "f", "activation", "largest activation", "maximum of a feature map over its positions"),
    Variable("activation_active", ("sample", "unit"), "f", "share", "active share", "share of a feature map's positions that are not zero"),
    Variable("map_sample", ("map_sample",), "iu", "", "sample of a map", "index in its data set of a sample whose feature maps are kept"),
    Variable("map", ("map_sample", "unit", "y", "x"), "f", "activation", "feature map", "a unit's activation at each position for a sample, after the nonlinearity"),
    Variable("minimum", UNIT, "f", "activation", "minimum", "smallest activation over the samples"),
    Variable("maximum", UNIT, "f", "activation", "maximum", "largest activation over the samples"),
    # class statistics
    Variable("count", ("class",), "iu", "samples", "samples of a class", "number of samples whose label is this class"),
    Variable("class_mean", UNIT_CLASS, "f", "activation", "class mean", "mean activation over the samples of a class"),
    Variable("class_variance", UNIT_CLASS, "f", "activation^2", "class variance", "population variance of the activation over the samples of a class"),
    Variable("class_minimum", UNIT_CLASS, "f", "activation", "class minimum", "smallest activation over the samples of a class"),
    Variable("class_maximum", UNIT_CLASS, "f", "activation", "class maximum", "largest activation over the samples of a class"),
    Variable("class_nonzero", UNIT_CLASS, "f", "1", "share of non-zero", "share of the samples of a class on which the activation is not zero"),
    Variable("histogram", ("unit", "class", "bin"), "iu", "samples", "activation histogram", "number of samples of a class whose activation falls into a bin"),
    Variable("bin_edges", ("unit", "bin_edge"), "f", "activation", "bin edges", "edges of the histogram's bins"),
    Variable("top_activation", _RANKED, "f", "activation", "top activation", "largest activations over the samples, descending; NaN where there are fewer samples"),
    Variable("top_sample", _RANKED, "i", "", "top sample", "position in the split of the sample with that activation, -1 where there are fewer"),
    Variable("top_class", _RANKED, "i", "", "top class", "label of that sample, -1 where there are fewer"),
)  # fmt: skip
_LAYER = ("layer",)
SUBSPACES = declare(
    # directions
    Variable("component", ("direction", "unit"), "f", "1", "component", "component of a direction along a unit; the directions of a table are orthonormal"),
    Variable("explained_variance", ("direction",), "f", "activation^2", "explained variance", "population variance over the samples of the activations projected on a direction"),
    Variable("explained_variance_ratio", ("direction",), "f", "1", "explained variance ratio", "explained variance as a share of the sum of the variances of all units; NaN where that is zero"),
    # layers
    Variable("participation_ratio", _LAYER, "f", "dimensions", "participation ratio", "(sum of the variances of the principal components)^2 / sum of their squares"),
    Variable("components_95", _LAYER, "i", "components", "components for 95 % of the variance", "least number of principal components that hold .95 of the layer's variance, -1 where there is none"),
)  # fmt: skip
CURVE, NOISE = ("order", "ablated"), ("draw", "noise_scale")
PERTURBATIONS = declare(
    # importance
    Variable("loss_increase", UNIT, "f", "nats", "loss increase", "mean loss with the ablation minus without; cross-entropy, unless scored by a function of your own"),
    Variable("loss_increase_se", UNIT, "f", "nats", "standard error of the loss increase", "paired over samples"),
    Variable("loss_increase_first_order", UNIT, "f", "nats", "first-order loss increase", "what the gradient of the loss at the activations makes of the loss increase: mean over samples of the sum over positions of (value - activation) x gradient"),
    Variable("loss_increase_first_order_se", UNIT, "f", "nats", "standard error of the first-order loss increase", "over samples"),
    Variable("accuracy_drop", UNIT, "f", "1", "accuracy drop", "accuracy (share of hits) without ablation minus accuracy with it"),
    Variable("accuracy_drop_se", UNIT, "f", "1", "standard error of the accuracy drop", "paired over samples; 0 where no hit changes, so that the interval tells more"),
    Variable("accuracy_drop_low", UNIT, "f", "1", "lower end of the accuracy drop", "of a 95 % interval over samples, which holds where hits change rarely, too"),
    Variable("accuracy_drop_high", UNIT, "f", "1", "upper end of the accuracy drop", "of a 95 % interval over samples, which holds where hits change rarely, too"),
    Variable("class_loss_increase", UNIT_CLASS, "f", "nats", "loss increase of a class", "loss increase over the samples of a class"),
    Variable("class_loss_increase_se", UNIT_CLASS, "f", "nats", "standard error of a class's loss increase", "paired over samples"),
    Variable("class_accuracy_drop", UNIT_CLASS, "f", "1", "accuracy drop of a class", "accuracy drop over the samples of a class"),
    Variable("class_accuracy_drop_se", UNIT_CLASS, "f", "1", "standard error of a class's accuracy drop", "paired over samples; 0 where no hit changes, so that the interval tells more"),
    Variable("class_accuracy_drop_low", UNIT_CLASS, "f", "1", "lower end of a class's accuracy drop", "of a 95 % interval over the samples of the class"),
    Variable("class_accuracy_drop_high", UNIT_CLASS, "f", "1", "upper end of a class's accuracy drop", "of a 95 % interval over the samples of the class"),
    Variable("class_accuracy_drop_max", UNIT, "f", "1", "largest accuracy drop of a class", "accuracy drop over the samples of the class that loses most; the largest of noisy drops is biased upwards"),
    Variable("class_accuracy_drop_max_se", UNIT, "f", "1", "standard error of the largest accuracy drop of a class", "that of the chosen class's accuracy drop, paired over samples; the choice is not part of it"),
    Variable("class_accuracy_drop_max_low", UNIT, "f", "1", "lower end of the largest accuracy drop of a class", "of a 95 % interval for the largest of the drops that the classes have in truth; it allows for the choice of the largest"),
    Variable("class_accuracy_drop_max_high", UNIT, "f", "1", "upper end of the largest accuracy drop of a class", "of a 95 % interval for the largest of the drops that the classes have in truth; it allows for the choice of the largest"),
    Variable("most_damaged_class", UNIT, "i", "", "most damaged class", "class whose accuracy drops most, -1 where not measured"),
    # importance by drawn pairs
    Variable("loss_increase_sampling_se", UNIT, "f", "nats", "sampling error of the loss increase", "standard error of the loss increase as an estimate of that of all pairs of a unit and a sample"),
    Variable("loss_increase_low", UNIT, "f", "nats", "lower end of the loss increase", "of an interval that holds the loss increase of all pairs with 95 % confidence"),
    Variable("loss_increase_high", UNIT, "f", "nats", "upper end of the loss increase", "of an interval that holds the loss increase of all pairs with 95 % confidence"),
    Variable("accuracy_drop_sampling_se", UNIT, "f", "1", "sampling error of the accuracy drop", "standard error of the accuracy drop as an estimate of that of all pairs of a unit and a sample"),
    Variable("class_loss_increase_sampling_se", UNIT_CLASS, "f", "nats", "sampling error of a class's loss increase", "standard error of a class's loss increase as an estimate of that of all pairs of a unit and a sample"),
    Variable("class_accuracy_drop_sampling_se", UNIT_CLASS, "f", "1", "sampling error of a class's accuracy drop", "standard error of a class's accuracy drop as an estimate of that of all pairs of a unit and a sample"),
    Variable("pairs", UNIT, "i", "pairs", "drawn pairs", "number of samples on which the unit was ablated"),
    Variable("effective_samples", UNIT, "f", "samples", "effective number of samples", "number of random samples that would give the same sampling error of the loss increase"),
    Variable("group_size", ("group",), "iu", "units", "size of the group", "number of units that are ablated at once"),
    # curves
    Variable("accuracy", CURVE, "f", "1", "accuracy", "share of samples that are hits: the largest logit is the label's, or the score asked for says so"),
    Variable("loss", CURVE, "f", "nats", "loss", "mean cross-entropy"),
    Variable("ablated_fraction", ("ablated",), "f", "1", "ablated fraction", "share of the units of the chosen layers, or of the directions of the basis, that are ablated"),
    Variable("ablated_units", ("ablated",), "iu", "units", "ablated units", "number of units, or of directions of the basis, that are ablated"),
    Variable("value", ("order",), TEXT, "", "value", "what units are clamped to in the order, empty where the networks of a table differ"),
    Variable("basis", ("order",), TEXT, "", "basis", "what is ablated in the order: units, or directions; empty where the networks of a table differ"),
)  # fmt: skip
_RUN, _ROW = ("run",), ("row",)
NETWORKS = declare(
    # runs
    Variable("auc", _RUN, "f", "1", "AUC", "mean accuracy over the cumulative ablation curve of random orders, trapezoid over the ablated fraction"),
    Variable("auc_normalized", _RUN, "f", "1", "normalised AUC", "AUC divided by the largest of the table; for pictures only: the largest of noisy numbers is too large, the more so the more networks there are"),
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
    Variable("reliability", _ROW, "f", "1", "reliability of the target", "share of the target's variance over units that is no error of drawing pairs"),
    Variable("spearman_corrected", _ROW, "f", "1", "Spearman correlation, corrected for attenuation", "rank correlation divided by the root of the reliability of the target"),
    Variable("p_value", _ROW, "f", "1", "p", "two-sided p-value of the correlation, t distribution; NaN for fewer than ten pairs"),
    Variable("n", _ROW, "iu", "units", "n", "number of units with both values"),
)  # fmt: skip

MEASURED = declare(*(variable for measure in MEASURES for variable in measure.variables))
VARIABLES = ACTIVATIONS | MEASURED | SUBSPACES | PERTURBATIONS | NETWORKS
