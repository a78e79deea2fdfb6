"""The paper's protocol: networks, training and measurements behind each group of results."""

from dataclasses import dataclass

CHANNELS = (64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512)  # of the CIFAR-10 network
MAPS = sum(CHANNELS[-3:])  # of its last three layers: 1,536
ALL_MAPS = sum(CHANNELS)  # 2,816
RANDOM_ORDERS = 10  # (M)
MEMORISED = 0.99  # train accuracy, on the labels trained on, of a network that has memorised
CURVES, NOISE = "cumulative_ablation", "noise_robustness"
MEASURES, ABLATION = "unit_measures", "unit_ablation"


@dataclass(frozen=True)
class PaperProtocol:
    """How the paper measured a group of results; empty or 0 where it is not known.

    Attributes
    ----------
    measurement
        Stem of the file of a network that our results are computed from.
    dataset
        Name of the data set.
    train_samples
        Number of training samples.
    model
        Name of the model.
    widths
        Units of each layer.
    epochs
        Epochs of training.
    networks
        Number of networks of the whole experiment.
    ablated_units
        Number of units that are ablated in one network.
    """

    measurement: str
    dataset: str = ""
    train_samples: int = 0
    model: str = ""
    widths: tuple[int, ...] = ()
    epochs: int = 0
    networks: int = 0
    ablated_units: int = 0


def mnist_protocol(
    measurement: str, width: int, *, epochs: int = 640, ablated_units: int = 0
) -> PaperProtocol:
    """Return the protocol of a perceptron with two hidden layers of a width, on MNIST."""
    return PaperProtocol(
        measurement, "mnist", 60_000, "mlp", (width, width), epochs, ablated_units=ablated_units
    )


def cifar10_protocol(
    measurement: str, *, networks: int = 0, ablated_units: int = 0
) -> PaperProtocol:
    """Return the protocol of the convolutional network on CIFAR-10."""
    return PaperProtocol(
        measurement, "cifar10", 50_000, "convnet", CHANNELS, 100, networks, ablated_units
    )


def imagenet_protocol(measurement: str) -> PaperProtocol:
    """Return the protocol of the ResNet-50 on ImageNet."""
    return PaperProtocol(measurement, "imagenet", 1_281_167, "resnet50")
