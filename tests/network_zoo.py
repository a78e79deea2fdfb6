"""Published architectures with random weights, small enough to run whole passes for each unit."""

from itertools import pairwise

import torch
from torch import nn

from networks_by_hand import random_pairs

CLASSES = 5
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def settled(model, *shape, samples=8):
    """Return a model in float64 whose units differ at every depth.

    Batch norms have the statistics of random inputs, then changed; weights that start at one, zero
    or nearly zero (norms, layer scales, the head of a vision transformer) are random.
    """
    generator = torch.Generator().manual_seed(1)
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.min() == parameter.max():
                parameter.uniform_(0.5, 1.5, generator=generator)
                parameter.mul_(1 if parameter.dim() == 1 else parameter.numel() ** -0.5)
        norms = [module for module in model.modules() if isinstance(module, NORMS)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train().momentum = 1.0
        model(torch.randn(samples, *shape, generator=generator, dtype=torch.float64))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            shift = torch.randn(norm.num_features, generator=generator, dtype=torch.float64)
            norm.running_mean += 0.2 * shift * norm.running_var.sqrt()
            norm.running_var.mul_(shift.abs() + 0.5).add_(1e-3)
    return model


def of_torchvision(name, size, **options):
    def build():
        from torchvision.models import get_model

        torch.manual_seed(0)
        model = get_model(name, weights=None, num_classes=CLASSES, **options).eval()
        return settled(model, 3, size, size)

    return build, size


def vision_transformer(size=32):
    def build():
        from torchvision.models import VisionTransformer

        torch.manual_seed(0)
        model = VisionTransformer(size, 8, 3, 2, 16, 24, num_classes=CLASSES).eval()
        return settled(model, 3, size, size)

    return build, size


def narrow_convnext(size=33):
    def build():
        from torchvision.models.convnext import CNBlockConfig, ConvNeXt

        torch.manual_seed(0)
        widths = (8, 12, 16, 20, None)
        blocks = [CNBlockConfig(*pair, 1) for pair in pairwise(widths)]
        return settled(ConvNeXt(blocks, num_classes=CLASSES).eval(), 3, size, size)

    return build, size


def efficientnet_lite0(size=40):
    def build():
        from efficientnet_lite_pytorch import EfficientNet

        torch.manual_seed(0)
        options = {"num_classes": CLASSES, "image_size": size}
        model = EfficientNet.from_name("efficientnet-lite0", **options).eval()
        return settled(model, 3, size, size)

    return build, size


def narrow_vgg(size=32):
    """VGG-11 without the 120 million weights of its dense layers."""

    def build():
        from torchvision.models import vgg11_bn

        torch.manual_seed(0)
        with torch.device("meta"):
            model = vgg11_bn(init_weights=False).eval()
            for place, shape in ((0, (512 * 49, 64)), (3, (64, 64)), (6, (64, CLASSES))):
                model.classifier[place] = nn.Linear(*shape)
        model.to_empty(device="cpu")
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return settled(model, 3, size, size)

    return build, size


UNINITIALISED = {"init_weights": False, "aux_logits": False}

ZOO = {
    "resnet18": of_torchvision("resnet18", 33),
    "resnet50": of_torchvision("resnet50", 24),
    "vgg11_bn": narrow_vgg(),
    "mobilenet_v2": of_torchvision("mobilenet_v2", 24),
    "mobilenet_v3_small": of_torchvision("mobilenet_v3_small", 40),
    "densenet121": of_torchvision("densenet121", 33),
    "googlenet": of_torchvision("googlenet", 33, **UNINITIALISED),
    "inception_v3": of_torchvision("inception_v3", 75, **UNINITIALISED),
    "efficientnet_b0": of_torchvision("efficientnet_b0", 33),
    "efficientnet_lite0": efficientnet_lite0(),
    "vision_transformer": vision_transformer(),
    "squeezenet1_1": of_torchvision("squeezenet1_1", 33),
    "shufflenet_v2_x0_5": of_torchvision("shufflenet_v2_x0_5", 40),
    "regnet_y_400mf": of_torchvision("regnet_y_400mf", 33),
    "convnext": narrow_convnext(),
}


def zoo_network(name, samples=3):
    build, size = ZOO[name]
    return build(), random_pairs(samples, 3, size, size, classes=CLASSES)
