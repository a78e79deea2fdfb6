"""Networks with seeded weights and made-up data, for a device without any file beside them."""

import torch
from torch import nn

from unitlens.config.networks import ConvNetSpec, MLPSpec
from unitlens.training.models import build_model


class Residual(nn.Module):
    """Blocks with batch norm and shortcuts, as in ResNet."""

    def __init__(self, width, blocks=3, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.inner = nn.ModuleList(self._inner(width) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.ReLU() for _ in range(blocks))
        self.head = nn.Linear(width, classes)

    @staticmethod
    def _inner(width):
        return nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, inputs):
        value = self.stem(inputs)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            value = outer(value + inner(value))
        return self.head(value.mean((2, 3)))


class Untraceable(nn.Module):
    """Takes another branch for other numbers, which no graph can hold."""

    def __init__(self, width, classes=10):
        super().__init__()
        self.first, self.second = nn.Linear(64, width), nn.Linear(width, classes)

    def forward(self, inputs):
        value = torch.relu(self.first(inputs))
        return self.second(value if value.sum() < torch.inf else -value)


def sized(number, size, least=4):
    """Return a number at some size, at least `least`."""
    return max(least, round(number * size))


def make(name, size, samples, *, dtype=torch.float32, seed=0):
    """Return a network on the CPU, its inputs and its labels.

    `size` scales widths; samples stay.
    """
    torch.manual_seed(seed)
    if name == "mlp":
        widths = (sized(512, size), sized(512, size))
        spec = MLPSpec(name="mlp", widths=widths, batch_norm=True)
        model, shape = build_model(spec, input_shape=(784,), classes=10, seed=seed), (784,)
    elif name == "convnet":
        spec = ConvNetSpec(name="convnet", width=max(1 / 16, size / 4))
        model, shape = (
            build_model(spec, input_shape=(3, 32, 32), classes=10, seed=seed),
            (3, 32, 32),
        )
    elif name == "residual":
        model, shape = Residual(sized(64, size)), (3, 32, 32)
    else:
        model, shape = Untraceable(sized(256, size)), (64,)
    inputs = torch.randn(samples, *shape, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(samples) % 10
    model.train()
    with torch.no_grad():
        model(inputs[:64])  # batch norm sees data once
    return model.to(dtype).eval(), inputs.to(dtype), labels


NETWORKS = ("convnet", "mlp", "residual", "untraceable")
