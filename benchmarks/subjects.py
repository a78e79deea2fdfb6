"""Data, and networks lightly trained on it, so that their units are zero as often as real ones."""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision import datasets, transforms
from torchvision.models import resnet50
from torchvision.transforms import InterpolationMode

from unitlens.config.networks import ConvNetSpec, MLPSpec
from unitlens.training.models import build_model

IMAGENETTE = "imagenette-subset/ilsvrc2012-val"
EXAMPLES = Path(__file__).parents[1] / "examples"
IMAGENET_COLOURS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE_COLOURS = (127 / 255,) * 3, (128 / 255,) * 3
CONVNET_TRAINING_IMAGES = 4000


class Loaded(TensorDataset):
    """Samples in memory, read batch by batch."""

    def batch(self, indices):
        return tuple(tensor[indices] for tensor in self.tensors)


@dataclass(frozen=True)
class Subject:
    """A network in eval mode, and the samples on which it is perturbed."""

    model: nn.Module
    inputs: Tensor
    labels: Tensor
    text: str

    @property
    def dataset(self):
        return Loaded(self.inputs, self.labels)


@cache
def mlp(data, samples):
    """784-512-512-10 after two epochs of MNIST, and a part of the test set."""
    model = build_model(MLPSpec(name="mlp"), input_shape=(1, 28, 28), classes=10, seed=0)
    train(model, *_mnist(data, train=True), epochs=2, batch=128)
    return _on(model, *_mnist(data, train=False), samples, "MNIST samples")


@cache
def convnet(data, samples):
    """The 11-layer network at a quarter of its width after one short epoch of CIFAR-10."""
    spec = ConvNetSpec(name="convnet", width=0.25)
    model = build_model(spec, input_shape=(3, 32, 32), classes=10, seed=0)
    inputs, labels = _cifar(data, train=True)
    chosen = _some(len(inputs), CONVNET_TRAINING_IMAGES)
    train(model, inputs[chosen], labels[chosen], epochs=1, batch=50)
    return _on(model, *_cifar(data, train=False), samples, "CIFAR-10 images")


@cache
def trained_convnet(data, samples):
    """The 11-layer network at a quarter of its width after four epochs of 20,000 images."""
    spec = ConvNetSpec(name="convnet", width=0.25)
    model = build_model(spec, input_shape=(3, 32, 32), classes=10, seed=0)
    inputs, labels = _cifar(data, train=True)
    chosen = _some(len(inputs), 20_000)
    train(model, inputs[chosen], labels[chosen], epochs=4, batch=64)
    return _on(model, *_cifar(data, train=False), samples, "CIFAR-10 images")


@cache
def resnet(data, samples):
    """ResNet-50 with random weights; its batch norms hold the statistics of the images."""
    torch.manual_seed(0)
    model = resnet50()
    inputs, labels, kind = _images(data, samples)
    settle_batch_norm(model, inputs)
    return Subject(model.eval(), inputs, labels, f"{len(inputs)} {kind} images of 224 px")


@cache
def efficientnet(data, samples):
    """EfficientNet-Lite0 as its authors trained it, on images that it has not seen."""
    sys.path.insert(0, str(EXAMPLES))
    from efficientnet_lite import efficientnet_lite0

    inputs, labels, kind = _images(data, samples, LITE_COLOURS, InterpolationMode.BICUBIC)
    text = f"{len(inputs)} {kind} images of 224 px"
    return Subject(efficientnet_lite0().eval(), inputs, labels, text)


def settle_batch_norm(model, inputs):
    """Pass data once in train mode, so that running statistics are those of the data."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of all batches, here of one
    with torch.no_grad():
        model.train()(inputs)


def train(model, inputs, labels, *, epochs, batch, seed=0):
    """Train with SGD, and leave the model in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    model.eval()


def _on(model, inputs, labels, samples, kind):
    chosen = _some(len(inputs), samples)
    return Subject(model, inputs[chosen], labels[chosen], f"{len(chosen):,} {kind}")


def _some(total, wanted):
    """Choose samples at random, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(total, generator=generator)[:wanted]


def _mnist(data, *, train):
    stored = datasets.MNIST(data, train=train)
    return stored.data.unsqueeze(1).float().div(255).sub(0.1307).div(0.3081), stored.targets


def _cifar(data, *, train):
    stored = datasets.CIFAR10(data, train=train)
    images = torch.from_numpy(stored.data).permute(0, 3, 1, 2).float().div(255)
    return images.sub(0.4734).div(0.2516).contiguous(), torch.tensor(stored.targets)


def _images(data, samples, colours=IMAGENET_COLOURS, interpolation=InterpolationMode.BILINEAR):
    folder = Path(data) / IMAGENETTE
    if not folder.is_dir():
        generator = torch.Generator().manual_seed(0)
        labels = torch.randint(0, 10, (samples,), generator=generator)
        return torch.randn(samples, 3, 224, 224, generator=generator), labels, "random"
    prepared = transforms.Compose(
        [
            transforms.Resize(256, interpolation),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(*colours),
        ]
    )
    stored = datasets.ImageFolder(folder, prepared)
    pairs = [stored[int(index)] for index in _some(len(stored), samples)]
    inputs, labels = zip(*pairs, strict=True)
    return torch.stack(inputs), torch.tensor(labels), "Imagenette"
