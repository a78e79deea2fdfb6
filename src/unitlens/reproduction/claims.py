"""The results that the paper reports, as data: values, reading errors, and how each is known."""

from unitlens.reproduction.claim_makers import correlation_claim, sign_claim
from unitlens.reproduction.claim_types import READING_ERROR, ClaimGroup, pairs_of_p_value
from unitlens.reproduction.claims_on_curves import (
    batch_norm_ablation_claims,
    dropout_claims,
    mnist_ablation_claims,
    noise_claims,
    robustness_claims,
    same_data_claims,
    selection_claims,
)
from unitlens.reproduction.claims_on_units import (
    batch_norm_information_claims,
    batch_norm_selectivity_claims,
    cifar10_layers_claims,
    importance_claims,
    information_claims,
    l1_norm_claims,
    rank_claim,
)
from unitlens.reproduction.paper_values import (
    CIFAR10_SCALES,
    IMAGENET_CORRELATION,
    IMAGENET_P_VALUE,
    MNIST_CORRELATION,
    MNIST_P_VALUE,
    MNIST_SCALES,
)
from unitlens.reproduction.protocol import (
    ABLATION,
    ALL_MAPS,
    CURVES,
    MAPS,
    MEASURES,
    NOISE,
    cifar10_protocol,
    imagenet_protocol,
    mnist_protocol,
)

PAPER_CLAIMS: dict[str, ClaimGroup] = {
    "mnist_ablation": ClaimGroup(
        "Memorisation against ablation, MNIST",
        ("memorisation_ablation",),
        mnist_ablation_claims(),
        mnist_protocol(CURVES, 512, ablated_units=1024),
    ),
    "cifar10_ablation": robustness_claims(
        "CIFAR-10", "1b", cifar10_protocol(CURVES, ablated_units=MAPS)
    ),
    "imagenet_ablation": robustness_claims("ImageNet", "1c", imagenet_protocol(CURVES)),
    "mnist_noise": noise_claims("MNIST", "2a", MNIST_SCALES, 0.1, mnist_protocol(NOISE, 512)),
    "cifar10_noise": noise_claims(
        "CIFAR-10", "2b", CIFAR10_SCALES, READING_ERROR, cifar10_protocol(NOISE)
    ),
    "same_data": ClaimGroup(
        "Networks trained alike on the same data",
        ("same_data_curves", "same_data_auc"),
        same_data_claims(),
        cifar10_protocol(CURVES, networks=200, ablated_units=ALL_MAPS),
    ),
    "early_stopping": ClaimGroup(
        "AUC over training",
        ("early_stopping", "auc_over_training"),
        (
            sign_claim(
                "falls",
                "4a",
                "AUC at the end of training minus AUC at the least test loss",
                -1,
                "AUC falls when train and test loss diverge",
            ),
            correlation_claim(
                "correlation", "4b", "correlation of AUC and test loss over training", -0.728
            ),
        ),
        mnist_protocol(CURVES, 2048),
    ),
    "hyperparameter_selection": ClaimGroup(
        "AUC and test accuracy over a sweep",
        ("hyperparameter_selection", "auc_test_accuracy"),
        selection_claims(),
        cifar10_protocol(CURVES, networks=192),
    ),
    "dropout": ClaimGroup(
        "Dropout",
        ("dropout_ablation",),
        dropout_claims(),
        mnist_protocol(CURVES, 2048, epochs=5000),
    ),
    "batch_norm_ablation": ClaimGroup(
        "Batch norm and ablation",
        ("batch_norm_ablation",),
        batch_norm_ablation_claims(),
        cifar10_protocol(CURVES, ablated_units=MAPS),
    ),
    "batch_norm_selectivity": ClaimGroup(
        "Batch norm and class selectivity",
        ("batch_norm_selectivity",),
        batch_norm_selectivity_claims(),
        cifar10_protocol(MEASURES, networks=8),
    ),
    "batch_norm_information": ClaimGroup(
        "Batch norm and mutual information",
        ("batch_norm_information",),
        batch_norm_information_claims(),
        cifar10_protocol(MEASURES, networks=8),
    ),
    "mnist_importance": importance_claims(
        "MNIST",
        (
            rank_claim(
                "all",
                "7a",
                "all units",
                MNIST_CORRELATION,
                pairs_of_p_value(MNIST_CORRELATION, MNIST_P_VALUE),
            ),
        ),
        mnist_protocol(ABLATION, 128),
    ),
    "cifar10_importance": importance_claims(
        "CIFAR-10",
        (rank_claim("all", "7b", "all maps", -0.428, ALL_MAPS), *cifar10_layers_claims()),
        cifar10_protocol(ABLATION),
        "selectivity_depth",
    ),
    "imagenet_importance": importance_claims(
        "ImageNet",
        (
            rank_claim(
                "all",
                "7d",
                "all maps",
                IMAGENET_CORRELATION,
                pairs_of_p_value(IMAGENET_CORRELATION, IMAGENET_P_VALUE),
            ),
            rank_claim("first", "7e", "first layer", -0.75, 64),
        ),
        imagenet_protocol(ABLATION),
        "selectivity_depth",
    ),
    "clamping": ClaimGroup(
        "Clamping to zero or to the mean",
        ("clamping",),
        (
            sign_claim(
                "mean",
                "appendix",
                "AUC when clamped to the mean minus AUC when clamped to zero",
                -1,
                "clamping to the mean is more damaging",
                source="D",
            ),
        ),
        cifar10_protocol(CURVES),
    ),
    "mnist_l1_norm": l1_norm_claims("MNIST", mnist_protocol(MEASURES, 128)),
    "cifar10_l1_norm": l1_norm_claims("CIFAR-10", cifar10_protocol(MEASURES)),
    "imagenet_l1_norm": l1_norm_claims("ImageNet", imagenet_protocol(MEASURES)),
    "mnist_information": information_claims("MNIST", mnist_protocol(ABLATION, 128)),
    "cifar10_information": information_claims("CIFAR-10", cifar10_protocol(ABLATION)),
    "imagenet_information": information_claims("ImageNet", imagenet_protocol(ABLATION)),
}
