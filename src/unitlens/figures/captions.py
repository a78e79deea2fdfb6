"""What stands over and under each figure, whatever its numbers are."""

_ABLATION = (
    "Units of all measured layers are clamped to a given value in random orders, more and more of "
    "them together; lines are means over orders and seeds, bands one standard deviation."
)
_SIDE = (
    "Each dot on the left is a unit, on the right the rank correlation in one layer of one "
    "network; a row a data set."
)
_ENDS = (
    "Best and worst are the five networks of least and of largest error, or a quarter of all where "
    "that is fewer; networks trained on permuted labels are left out."
)

TITLES = {
    "memorisation_ablation": "Ablating units of networks that memorise",
    "memorisation_noise": "Noise on the units of networks that memorise",
    "dropout_ablation": "Ablating units of networks trained with dropout",
    "batch_norm_ablation": "Ablating units with and without batch norm",
    "batch_norm_selectivity": "Class selectivity with and without batch norm",
    "batch_norm_information": "Mutual information with and without batch norm",
    "selectivity_importance": "Are selective units important?",
    "selectivity_l1_norm": "Do selective units have large weights?",
    "l1_norm_importance": "Are units of large weights important?",
    "auc_test_accuracy": "Robustness to ablation and test accuracy",
    "auc_over_training": "Robustness to ablation over the course of training",
    "selectivity_depth": "Class selectivity by depth",
    "same_data_auc": "Robustness to ablation and generalisation on the same data",
    "same_data_curves": "Ablating units of networks that generalise well and badly",
    "hyperparameter_selection": "Choosing hyperparameters by robustness to ablation",
    "early_stopping": "Stopping training by robustness to ablation or by test loss",
    "clamping": "What units are clamped to",
    "bases": "Units, random directions and principal components",
    "measure_orders": "Ablating units in the order of a measure",
    "class_damage": "Does a unit's class suffer when it is ablated?",
    "measure_agreement": "Do measures of selectivity agree?",
    "information_importance": "Are informative units important?",
    "regulariser": "Training for or against class selectivity",
    "selectivity_over_training": "Selectivity and importance over the course of training",
}

CAPTIONS = {
    "memorisation_ablation": f"Accuracy against the share of units ablated, by the fraction of "
    f"training labels that was permuted. {_ABLATION}",
    "memorisation_noise": "Accuracy against the scale of Gaussian noise added to all units at "
    "once, by the fraction of training labels that was permuted; a scale of 1 is each unit's own "
    "standard deviation. Lines are means over draws and seeds, bands one standard deviation.",
    "dropout_ablation": "Accuracy against the share of units ablated for networks trained with "
    f"dropout; the dropout fraction is marked. {_ABLATION}",
    "batch_norm_ablation": "Accuracy against the share of units ablated, with and without batch "
    f"norm. {_ABLATION}",
    "batch_norm_selectivity": "Distribution of class selectivity over all units of the networks "
    "with and without batch norm.",
    "batch_norm_information": "Distribution of the mutual information between a unit's activation "
    "and the class, over all units of the networks with and without batch norm.",
    "selectivity_importance": "Class selectivity against the increase of the loss when the unit "
    f"alone is ablated; the vertical axis is linear near zero. {_SIDE}",
    "selectivity_l1_norm": f"L1 norm of the incoming weights against class selectivity. {_SIDE}",
    "l1_norm_importance": "L1 norm of the incoming weights against the increase of the loss when "
    f"the unit alone is ablated; the vertical axis is linear near zero. {_SIDE}",
    "auc_test_accuracy": "Area under the cumulative ablation curve, divided by the largest shown, "
    "against test accuracy; a dot a network.",
    "auc_over_training": "Area under the cumulative ablation curve at kept epochs (above), train "
    "and test loss after every epoch (below).",
    "selectivity_depth": "Median and quartiles of class selectivity by layer.",
    "same_data_auc": "Generalisation error, 1 - test accuracy, against the area under the "
    f"cumulative ablation curve divided by the largest shown; a dot a network. {_ENDS}",
    "same_data_curves": "Accuracy against the share of units ablated in random orders, for the "
    f"networks that generalise best and worst on the same data. {_ENDS} Lines are means, bands one "
    "standard deviation over networks, each averaged over its orders.",
    "hyperparameter_selection": "Test accuracy against the area under the cumulative ablation "
    "curve, a dot a setting (mean over its seeds); and how often, among random halves of the "
    "settings, the one of largest area is one of the best by test accuracy; dashes: a setting "
    "picked at random.",
    "early_stopping": "Area under the cumulative ablation curve at kept epochs (above), train "
    "and test loss after every epoch (middle), test accuracy at kept epochs (below). Squares: the "
    "kept epoch of largest area; circles: that of least test loss. What a stop costs is the best "
    "test accuracy of all kept epochs minus that at the stop.",
    "clamping": "Accuracy against the share of units ablated, by the value that they are clamped "
    "to; means are of the training set. Units are ablated in random orders; lines are means over "
    "orders and seeds, bands one standard deviation.",
    "bases": "Accuracy against the share of directions ablated in random orders, for the units "
    "themselves, for random orthonormal directions of each layer and for its principal "
    "components. Lines are means over orders and seeds, bands one standard deviation.",
    "measure_orders": "Accuracy against the share of units ablated in the order of a measure, "
    "from its largest value down (solid) or from its least up (dashed), beside random orders. "
    "Lines are means over orders and seeds, bands one standard deviation.",
    "class_damage": "Class selectivity of each unit against the accuracy drop of its preferred "
    "class when the unit alone is ablated, the vertical axis linear near zero (left); for how "
    "many of the units whose ablation makes a class's accuracy drop the preferred class is the "
    "one that loses most, by layer (right).",
    "measure_agreement": "Rank correlation of each two measures over the units of a layer, "
    "averaged over the layers that have ten units at least; a matrix a data set.",
    "information_importance": "Mutual information with the class against the increase of the "
    f"loss when the unit alone is ablated; the vertical axis is linear near zero. {_SIDE}",
    "regulariser": "Test accuracy, area under the cumulative ablation curve (AUC) and mean class "
    "selectivity of networks by the strength alpha of the selectivity regulariser in training: "
    "loss = cross-entropy - alpha x mean selectivity. Lines are means over seeds, dots networks.",
    "selectivity_over_training": "Mean class selectivity and mean loss increase of the units of "
    "each layer at kept epochs, and the rank correlation of the two within the layer (of ten "
    "units at least). Lines are means over networks, bands reach from the least to the largest.",
}
