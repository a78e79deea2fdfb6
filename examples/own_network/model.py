"""A small residual network."""

import torch
from torch import nn


class ResidualNetwork(nn.Module):
    """Two 3x3 convolutions around a residual connection, then a dense layer.

    Parameters
    ----------
    width
        Number of feature maps.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images of shape (batch, 1, 8, 8) to logits of shape (batch, 10)."""
        identity = self.relu(self.stem(images))
        out = self.relu(self.conv1(identity))
        out = self.conv2(out)
        out += identity
        out = self.relu(out)
        return self.head(out.mean(dim=(2, 3)))


def residual_network(width: int = 16) -> ResidualNetwork:
    """Build the network. Its weights are in the file that the configuration names.

    Parameters
    ----------
    width
        Number of feature maps.
    """
    return ResidualNetwork(width)
