"""Declarations of samples, activations and their statistics by class."""

from unitlens.variables.declaration import TEXT, UNIT, UNIT_CLASS, Variable, declare

_RANKED = ("unit", "rank")

VARIABLES = declare(
    # coordinates
    Variable("layer", UNIT, TEXT, "", "layer", "name of the layer the unit lives in"),
    Variable("depth", UNIT, "iu", "", "depth", "index of the layer in the forward pass, from 0"),
    Variable("channel", UNIT, "iu", "", "channel", "index of the unit in its layer, from 0"),
    Variable("index", ("sample",), "iu", "", "sample index", "index of the sample in its data set"),
    Variable("label", ("sample",), "iu", "", "label", "label as the network was trained on it"),
    Variable("true_label", ("sample",), "iu", "", "true label", "label before any corruption"),
    Variable("prediction", ("sample",), "iu", "", "prediction", "class of the largest logit"),
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
