"""Measured rates of the estimates, each with its measurement.

All rates are of two cores with AVX-512, in float32. `unitlens estimate --gflops` replaces `PASSES`,
and `--read-mb` replaces `READ`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """A measured rate.

    Attributes
    ----------
    value
        The number.
    unit
        Unit and meaning.
    where
        The measurement.
    """

    value: float
    unit: str
    where: str


PASSES = Rate(
    190,
    "GFLOP/s in forward passes",
    "benchmarks/perturbation.py, units of ResNet-50 by forward hooks: 257 passes over 32 images "
    "of 224 px, 67 TFLOP, in 350 s",
)
READ = Rate(
    500,
    "MB/s of a store's files, from the disk",
    "512 MB read past the page cache on the machine of docs/benchmarks.md: 490 to 1,200",
)

# Floating-point operations per second in a rule, over those in forward passes.
SHARES = {
    "score": Rate(1.0, "of PASSES", "scoring consists of forward passes"),
    "train": Rate(
        0.5,
        "of PASSES",
        "benchmarks/training_epoch.py, 784-512-512-10 on MNIST: training epochs against scoring",
    ),
    "record_activations": Rate(
        0.8,
        "of PASSES",
        "48 images by ResNet-50, as in benchmarks/recording.py, without the 2 s of start-up: 0.65 "
        "to 0.92 beside other work",
    ),
    "principal_components": Rate(
        0.5,
        "of PASSES",
        "block_scatter of 16,000 x 2,048, by processor time beside other work: 62 to 106 GFLOP/s "
        "in float64; without the decomposition, which takes seconds per layer",
    ),
    "unit_ablation": Rate(
        1.15,
        "of PASSES",
        "benchmarks/perturbation.py, 256 units of ResNet-50: 221 GFLOP/s of counted operations",
    ),
    "cumulative_ablation": Rate(
        1.2,
        "of PASSES",
        "benchmarks/perturbation.py, last three layers of the convnet: 234 GFLOP/s",
    ),
    "noise_robustness": Rate(
        1.2, "of PASSES", "benchmarks/perturbation.py, convnet, 10 draws x 10 scales: 229 GFLOP/s"
    ),
}
STATISTICS = Rate(
    110,
    "MB/s of activations before compression, by 1,000 classes and 32 bins",
    "the data of benchmarks/statistics_pass.py, 60,000 x 2,048, by processor time; 10 classes "
    "take a third of it",
)
IMAGES = Rate(
    500,
    "images/s of 500 x 375 px, decoded and cropped to 224 px",
    "JPEG files of 77 kB through an image_folder, by processor time",
)

# Bytes of float32 activations over their bytes on disk, by the default codec.
MAPS = Rate(1.07, "of feature maps", "benchmarks/store_codecs.py, EfficientNet-Lite0, 19 % zeros")
NEURONS = Rate(1.85, "of dense layers", "benchmarks/store_codecs.py, 784-512-512-10, 67 % zeros")

PROCESS_BYTES = 700_000_000  # of a Python process that has imported torch and torchvision
