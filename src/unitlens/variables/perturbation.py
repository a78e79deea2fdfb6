"""Declarations of what perturbations do: importance and curves."""

from unitlens.variables.declaration import TEXT, UNIT, UNIT_CLASS, Variable, declare

CURVE, NOISE = ("order", "ablated"), ("draw", "noise_scale")

VARIABLES = declare(
    # importance
    Variable("loss_increase", UNIT, "f", "nats", "loss increase", "mean loss with the ablation minus without; cross-entropy, unless scored by a function of your own"),
    Variable("loss_increase_se", UNIT, "f", "nats", "standard error of the loss increase", "paired over samples"),
    Variable("loss_increase_first_order", UNIT, "f", "nats", "first-order loss increase", "what the gradient of the loss at the activations makes of the loss increase: mean over samples of the sum over positions of (value - activation) x gradient"),
    Variable("loss_increase_first_order_se", UNIT, "f", "nats", "standard error of the first-order loss increase", "over samples"),
    Variable("accuracy_drop", UNIT, "f", "1", "accuracy drop", "accuracy (share of hits) without ablation minus accuracy with it"),
    Variable("accuracy_drop_se", UNIT, "f", "1", "standard error of the accuracy drop", "paired over samples"),
    Variable("class_loss_increase", UNIT_CLASS, "f", "nats", "loss increase of a class", "loss increase over the samples of a class"),
    Variable("class_loss_increase_se", UNIT_CLASS, "f", "nats", "standard error of a class's loss increase", "paired over samples"),
    Variable("class_accuracy_drop", UNIT_CLASS, "f", "1", "accuracy drop of a class", "accuracy drop over the samples of a class"),
    Variable("class_accuracy_drop_se", UNIT_CLASS, "f", "1", "standard error of a class's accuracy drop", "paired over samples"),
    Variable("class_accuracy_drop_max", UNIT, "f", "1", "largest accuracy drop of a class", "accuracy drop over the samples of the class that loses most; the largest of noisy drops is biased upwards"),
    Variable("class_accuracy_drop_max_se", UNIT, "f", "1", "standard error of the largest accuracy drop of a class", "that of the chosen class's accuracy drop, paired over samples; the choice is not part of it"),
    Variable("most_damaged_class", UNIT, "i", "", "most damaged class", "class whose accuracy drops most, -1 where not measured"),
    Variable("group_size", ("group",), "iu", "units", "size of the group", "number of units that are ablated at once"),
    # curves
    Variable("accuracy", CURVE, "f", "1", "accuracy", "share of samples that are hits: the largest logit is the label's, or the score asked for says so"),
    Variable("loss", CURVE, "f", "nats", "loss", "mean cross-entropy"),
    Variable("ablated_fraction", ("ablated",), "f", "1", "ablated fraction", "share of the units of the chosen layers, or of the directions of the basis, that are ablated"),
    Variable("ablated_units", ("ablated",), "iu", "units", "ablated units", "number of units, or of directions of the basis, that are ablated"),
    Variable("value", ("order",), TEXT, "", "value", "what units are clamped to in the order, empty where the networks of a table differ"),
    Variable("basis", ("order",), TEXT, "", "basis", "what is ablated in the order: units, or directions; empty where the networks of a table differ"),
)  # fmt: skip
