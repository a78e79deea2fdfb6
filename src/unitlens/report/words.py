"""Words of the page that do not depend on the results: reference, glossary, the paper's results.

The numbers of the paper are not written here: ``report.paper_results`` fills them in.
"""

REFERENCE = (
    "Morcos, Barrett, Rabinowitz & Botvinick, On the importance of single directions for "
    "generalization, ICLR 2018, arXiv 1803.06959"
)

GLOSSARY = {
    "unit": "one output of a nonlinearity: a neuron of a dense layer, or a whole feature map of "
    "a convolution",
    "activation": "a unit's value for one sample, after the nonlinearity; for a feature map one "
    "number, the mean over positions unless configured otherwise",
    "label corruption": "the fraction of training labels that were permuted among themselves; such "
    "labels can only be memorised, and train accuracy is scored against them",
    "class selectivity": "(mu_max - mu_rest) / (mu_max + mu_rest): 0 for a unit that is equally "
    "active for all classes, 1 for a unit that is active for one class only",
    "mutual information": "the information, in nats, that a unit's activation gives about the "
    "class of a sample",
    "ablation": "clamping a unit to a given value, for every sample and position",
    "importance": "the increase of the mean loss (or the drop of accuracy) when one unit alone is "
    "ablated",
    "first-order loss increase": "an estimate of the loss increase from the gradient of the loss "
    "at a unit's activations: one backward pass for all units, exact where the loss is linear",
    "AUC": "area under the cumulative ablation curve: the mean accuracy while more and more "
    "units are ablated, from none to all; large for networks that depend on no single unit",
    "noise scale at half": "the scale of Gaussian noise on all units, in standard deviations of "
    "each unit's elements, or of each unit where the experiment asks so, at which accuracy falls "
    "to one half",
    "L1 norm": "the sum of the absolute incoming weights of a unit",
    "dead unit": "a unit that is zero on every sample",
    "rank correlation": "Spearman's: 1 or -1 where one value always rises or falls with the "
    "other, 0 where there is no such relation; p is the probability of a correlation at least as "
    "large by chance",
}

# Figure to the paper's results, with a field in braces for each number and finding of the paper:
# {group[claim]}, {group[networks]} or {group[width]} of its protocol, or a number by its own name.
PAPER_TEMPLATES = {
    "memorisation_ablation": "On all of MNIST (two layers of {mnist_ablation[width]} units) the "
    "mean train accuracy over the whole range is {mnist_ablation[order]} for corruption {levels}, "
    "strictly ordered (read off figure 1a, to about {reading_error}).",
    "memorisation_noise": "On all of MNIST train accuracy is one half at a noise scale near "
    "{mnist_noise[corruption 0.2]} for corruption .2 and near {mnist_noise[corruption 1]} for "
    "corruption 1; on CIFAR-10 at {cifar10_noise[corruption 0]} and {cifar10_noise[corruption 1]} "
    "for corruption 0 and 1 (read off figure 2).",
    "dropout_ablation": "With dropout {dropouts} on MNIST, accuracy is flat up to the dropout "
    "fraction; {dropout[first-0.1]} (read off figure 5a).",
    "batch_norm_ablation": "On CIFAR-10, accuracy after {ablated_maps} of {maps} maps is "
    "{with_batch_norm} with batch norm and {without_batch_norm} without (read off figure 5b).",
    "batch_norm_selectivity": "On CIFAR-10 the mode of class selectivity with batch norm is near "
    "{batch_norm_selectivity[mode]}. The distribution: {batch_norm_selectivity[high]}; "
    "{batch_norm_selectivity[broad]}; {batch_norm_selectivity[ends]} (read off figure 6a).",
    "batch_norm_information": "On CIFAR-10 the share of maps with a mutual information near 0 is "
    "{batch_norm_information[near-zero]} without batch norm. With batch norm the mode is near "
    "{batch_norm_information[mode]}, with {batch_norm_information[bump]}. Whether the unit is nats "
    "or bits is not known, nor is the estimator (read off figure 6b).",
    "selectivity_importance": "The rank correlation of selectivity and importance over all units "
    "is {mnist_importance[all]} (p = {mnist_p_value}) on MNIST, {cifar10_importance[all]} on "
    "CIFAR-10 and {imagenet_importance[all]} on ImageNet; {mnist_importance[early]} on all three "
    "(read off figure 7).",
    "selectivity_l1_norm": "The paper calls the two '{mnist_l1_norm[selectivity]}' (from slides "
    "that paraphrase the paper).",
    "auc_test_accuracy": "Over {hyperparameter_selection[networks]} networks of a hyperparameter "
    "sweep on CIFAR-10 the correlation is r = {hyperparameter_selection[correlation]} (read off "
    "figure 4c).",
    "same_data_curves": "Of {same_data[networks]} networks on CIFAR-10, the five that generalise "
    "best (test error {best_error}) fall to one half of accuracy with about {same_data[best]} of "
    "the maps ablated, the five that generalise worst ({worst_error}) with about "
    "{same_data[worst]} (read off figure 3a).",
    "hyperparameter_selection": "Over {hyperparameter_selection[networks]} networks of a sweep on "
    "CIFAR-10 the correlation is r = {hyperparameter_selection[correlation]} (read off figure "
    "4c). Among {settings_in_half} random settings, the setting of largest AUC is among the top 1, "
    "5 and 10 by test accuracy with a frequency of {hyperparameter_selection[top-1]}, "
    "{hyperparameter_selection[top-5]} and {hyperparameter_selection[top-10]} (recalled).",
    "early_stopping": "On MNIST, {early_stopping[falls]} (read off figure 4a).",
    "clamping": "The paper finds that {clamping[mean]} than clamping to zero (from slides that "
    "paraphrase the paper).",
    "information_importance": "The paper finds the same for mutual information as for class "
    "selectivity (from slides that paraphrase the paper).",
    "auc_over_training": "On MNIST, {early_stopping[falls]}; the correlation of AUC and test loss "
    "over training is r = {early_stopping[correlation]} (read off figures 4a and 4b).",
}
