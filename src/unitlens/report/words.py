"""What stands on the page whatever the results are: words, and what the paper reports."""

PAPER = (
    "Morcos, Barrett, Rabinowitz & Botvinick, On the importance of single directions for "
    "generalization, ICLR 2018, arXiv 1803.06959"
)

GLOSSARY = {
    "unit": "one output of a nonlinearity: a neuron of a dense layer, or a whole feature map of "
    "a convolution",
    "activation": "a unit's value for one sample, after the nonlinearity; for a feature map one "
    "number, its mean over positions unless configured otherwise",
    "label corruption": "the fraction of training labels that was permuted among itself; such "
    "labels can only be memorised, and train accuracy is scored against them",
    "class selectivity": "(mu_max - mu_rest) / (mu_max + mu_rest): 0 for a unit as active for "
    "every class, 1 for a unit active for one class only",
    "mutual information": "how many nats a unit's activation tells about the class of a sample",
    "ablation": "clamping a unit to a given value, for every sample and position",
    "importance": "how much the mean loss rises (or accuracy drops) when one unit is ablated",
    "first-order loss increase": "what the gradient of the loss at a unit's activations makes of "
    "the loss increase: one backward pass for all units, right where the loss is linear",
    "AUC": "area under the cumulative ablation curve: the mean accuracy while more and more "
    "units are ablated, from none to all; large for networks that no single unit is vital to",
    "noise scale at half": "the Gaussian noise on all units, in standard deviations of each "
    "unit, at which accuracy falls to one half",
    "L1 norm": "the sum of the absolute weights that come into a unit",
    "dead unit": "a unit that is zero on every sample",
    "rank correlation": "Spearman's: 1 or -1 where one value always rises or falls with the "
    "other, 0 where neither; p is the probability of one as large by chance",
}

# Values of the paper, each with how it is known. They are of other data sets and larger networks.
IN_THE_PAPER = {
    "memorisation_ablation": "On all of MNIST (2 x 512 units) the mean train accuracy over the "
    "whole range is .80, .55, .44, .42, .36 and .34 for corruption 0, .2, .4, .6, .8 and 1, "
    "strictly ordered (read off figure 1a, to about .01).",
    "memorisation_noise": "On all of MNIST train accuracy is one half at a scale near 1.9 at "
    "corruption .2 and near .8 at corruption 1; on CIFAR-10 at .66 and .41 for corruption 0 and 1 "
    "(read off figure 2).",
    "dropout_ablation": "With dropout .1, .2 and .3 on MNIST, accuracy is flat up to the dropout "
    "fraction; past it networks trained on corrupted labels fall first (read off figure 5a).",
    "batch_norm_ablation": "On CIFAR-10, accuracy after 400, 800 and 1,200 of 1,536 maps is .98, "
    ".87 and .52 with batch norm and .66, .35 and .19 without (read off figure 5b).",
    "batch_norm_selectivity": "On CIFAR-10 the selectivity with batch norm has its mode near .1 "
    "and almost none above .7; without it is broad, with spikes at 0 and 1 (read off figure 6a).",
    "batch_norm_information": "On CIFAR-10 without batch norm 36 % of the maps have a mutual "
    "information near 0; with it the mode is near .09 and a second bump at .5 to .6, whether nats "
    "or bits is not known, nor is the estimator (read off figure 6b).",
    "selectivity_importance": "The rank correlation of selectivity and importance is .095 (p = "
    ".288) on MNIST, -.428 on CIFAR-10 and -.012 on ImageNet over all units; ablations in early "
    "layers hurt more in all three (read off figure 7).",
    "selectivity_l1_norm": "The paper calls the two 'largely unrelated, if not negatively "
    "related' (from slides that paraphrase it).",
    "auc_test_accuracy": "Over 192 networks of a hyperparameter sweep on CIFAR-10 the correlation "
    "is r = .914 (read off figure 4c).",
    "same_data_curves": "Of 200 networks on CIFAR-10, the five that generalise best (error .14) "
    "lose half of their accuracy with about 1,440 of 1,536 maps ablated, the five worst (.35) with "
    "about 500 (read off figure 3a).",
    "hyperparameter_selection": "Over 192 networks of a sweep on CIFAR-10 the correlation is "
    "r = .914; of 48 random settings AUC picks one of the top 1, 5 and 10 in 13, 83 and 98 % (read "
    "off figure 4c; recalled).",
    "early_stopping": "On MNIST, AUC falls when train and test loss part (read off figure 4a).",
    "clamping": "The paper finds clamping to the mean over the training set more damaging than "
    "clamping to zero (from slides that paraphrase it).",
    "information_importance": "The paper finds for mutual information what it finds for "
    "selectivity (from slides that paraphrase it).",
    "auc_over_training": "On MNIST, AUC falls when train and test loss part; its correlation with "
    "test loss is r = -.728 (read off figures 4a and 4b).",
}
