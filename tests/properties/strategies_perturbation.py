"""Random small networks."""

import torch
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = [nn.ReLU, lambda: nn.ReLU(inplace=True), nn.Tanh, nn.GELU, nn.ELU]


@st.composite
def dense_networks(draw):
    """Draw an MLP of one to four hidden layers and the shape of its inputs."""
    widths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    layers, before = [], 5
    for width in widths:
        layers.append(nn.Linear(before, width, bias=draw(st.booleans())))
        if draw(st.booleans()):
            layers.append(nn.BatchNorm1d(width))
        layers.append(draw(st.sampled_from(ACTIVATIONS))())
        if draw(st.booleans()):
            layers.append(nn.Dropout(0.5))
        before = width
    return nn.Sequential(*layers, nn.Linear(before, 3)), (5,)


@st.composite
def convolutional_networks(draw):
    """Draw a convnet of one to three layers and the shape of its inputs."""
    layers, before = [], 2
    for _ in range(draw(st.integers(1, 3))):
        groups = draw(st.sampled_from([1, 2]))
        width = groups * draw(st.integers(1, 3)) if before % groups == 0 else before
        groups = groups if before % groups == 0 else 1
        stride, bias = draw(st.integers(1, 2)), draw(st.booleans())
        layers.append(nn.Conv2d(before, width, 3, stride, 1, groups=groups, bias=bias))
        if draw(st.booleans()):
            layers.append(nn.BatchNorm2d(width))
        layers.append(draw(st.sampled_from(ACTIVATIONS))())
        before = width
    pool = draw(st.sampled_from([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d]))
    return nn.Sequential(*layers, pool(1), nn.Flatten(), nn.Linear(before, 3)), (2, 6, 6)


@st.composite
def networks(draw):
    """Draw a network in float64 with weights of its own seed, and the shape of its inputs."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    model, shape = draw(st.one_of(dense_networks(), convolutional_networks()))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.double(), shape
