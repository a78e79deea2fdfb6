"""Networks from their specifications: dense, convolutional, torchvision's, the user's own."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.config.networks import (
    MODEL_FAMILIES,
    ConvNetSpec,
    MLPSpec,
    ModelSpec,
    TorchvisionSpec,
    UserModelSpec,
)
from unitlens.errors import ModelError, nearest, one_line
from unitlens.model.restore import isolated_generators, seed_generators
from unitlens.seeds import derived_seed
from unitlens.training.weight_files import WeightsFile
from unitlens.training.weight_loading import fit_weights
from unitlens.user_code import call_user_function

OWN_WEIGHTS = "torchvision:"  # prefix of a name of weights that torchvision publishes
_KEY = "model.weights_key"


def build_model(
    spec: ModelSpec, *, input_shape: tuple[int, ...], classes: int, seed: int
) -> nn.Module:
    """Build a network with the weights that its specification names, or with random ones.

    Parameters
    ----------
    spec
        The specification of the network.
    input_shape
        Shape of one input, such as (channels, height, width).
    classes
        Number of logits of an ``mlp``, of a ``convnet``, and of a network of torchvision without
        a weights file (unless its arguments set ``num_classes``).
    seed
        Seed of random weights, which are initialised as PyTorch does by default (the convolutions
        of a ``convnet`` after He et al.). No global random state changes.

    Returns
    -------
    The network on the CPU, in training mode. The nonlinearities of an ``mlp`` and of a
    ``convnet`` are modules named relu1, relu2, ...

    Raises
    ------
    ModelError
        Where a name is unknown, arguments do not fit, or a weights file is missing, could run
        code, or does not fit the network.
    """
    model = construct_model(spec, input_shape=input_shape, classes=classes, seed=seed)
    if isinstance(spec, TorchvisionSpec | UserModelSpec) and spec.weights is not None:
        fit_weights(model, _weights(spec), source=spec.weights, key_name=_KEY)
    return model


def construct_model(
    spec: ModelSpec, *, input_shape: tuple[int, ...], classes: int, seed: int
) -> nn.Module:
    """Build a network as :func:`build_model` does, but without reading a weights file.

    Parameters
    ----------
    spec
        The specification of the network.
    input_shape
        Shape of one input.
    classes
        Number of logits.
    seed
        Seed of the random weights.
    """
    cpu = torch.device("cpu")
    with isolated_generators(cpu):
        seed_generators(derived_seed(seed, "weights"), cpu)
        return BUILDERS[type(spec)](spec, input_shape, classes)


def _mlp(spec: MLPSpec, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    features = 1
    for size in input_shape:
        features *= size
    for number, width in enumerate(spec.widths, start=1):
        layers[f"dense{number}"] = nn.Linear(features, width, bias=not spec.batch_norm)
        if spec.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm1d(width)
        layers[f"relu{number}"] = nn.ReLU()
        if spec.dropout:
            layers[f"dropout{number}"] = nn.Dropout(spec.dropout)
        features = width
    layers["output"] = nn.Linear(features, classes)
    return nn.Sequential(layers)


def _convnet(spec: ConvNetSpec, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    if len(input_shape) != 3:
        raise ModelError(
            f"model.name = 'convnet' needs images of shape (channels, height, width), but the data "
            f"set's inputs have shape {input_shape}; use an mlp"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, height, width = input_shape
    for number, (maps, stride) in enumerate(zip(spec.channels, spec.strides, strict=True), start=1):
        maps = max(1, round(maps * spec.width))
        convolution = nn.Conv2d(channels, maps, 3, stride, padding=1, bias=not spec.batch_norm)
        _initialise(convolution)
        layers[f"conv{number}"] = convolution
        if spec.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(maps)
        layers[f"relu{number}"] = nn.ReLU()
        if spec.dropout:
            layers[f"dropout{number}"] = nn.Dropout2d(spec.dropout)
        channels, height, width = maps, (height - 1) // stride + 1, (width - 1) // stride + 1
    if spec.head == "average":
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        height = width = 1
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(channels * height * width, classes)
    return nn.Sequential(layers)


def _initialise(convolution: nn.Conv2d) -> None:
    """Draw weights that keep the variance of activations through ReLUs (He et al. 2015)."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


def _torchvision(spec: TorchvisionSpec, _: tuple[int, ...], classes: int) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if spec.name not in known:
        raise ModelError(
            f"model.name = {spec.name!r} must be {', '.join(MODEL_FAMILIES)}, one of "
            "torchvision.models or 'module:function'; "
            f"{nearest(spec.name, (*MODEL_FAMILIES, *known))}"
        )
    arguments = dict(spec.arguments)
    if spec.weights is None:
        arguments.setdefault("num_classes", classes)
    try:
        model: nn.Module = models.get_model(spec.name, **arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"model.arguments = {spec.arguments} do not fit {spec.name}: {one_line(error)}"
        ) from error
    return model


def _user_model(spec: UserModelSpec, *_: object) -> nn.Module:
    model = call_user_function(spec.name, spec.arguments, key="model.name", error=ModelError)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"model.name = {spec.name!r} must return a torch.nn.Module, but returned a "
            f"{type(model).__name__}"
        )
    return model


# The builder of each class of specification. Arguments: specification, input shape, classes.
BUILDERS: dict[type, Callable[[Any, tuple[int, ...], int], nn.Module]] = {
    MLPSpec: _mlp,
    ConvNetSpec: _convnet,
    TorchvisionSpec: _torchvision,
    UserModelSpec: _user_model,
}


def _weights(spec: TorchvisionSpec | UserModelSpec) -> Mapping[str, Tensor]:
    name = str(spec.weights)
    if isinstance(spec, TorchvisionSpec) and name.startswith(OWN_WEIGHTS):
        return _torchvision_weights(spec.name, name.removeprefix(OWN_WEIGHTS))
    file = WeightsFile(Path(name), spec.weights_key, path_name="model.weights", key_name=_KEY)
    return file.read()


def _torchvision_weights(model: str, name: str) -> Mapping[str, Tensor]:
    from torchvision import models

    known: Any = models.get_model_weights(model)
    if name != "DEFAULT" and name not in known.__members__:
        raise ModelError(
            f"model.weights = '{OWN_WEIGHTS}{name}': torchvision has no such weights for {model}; "
            f"{nearest(name, [*known.__members__, 'DEFAULT'])}"
        )
    try:
        weights: Mapping[str, Tensor] = known[name].get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"model.weights = '{OWN_WEIGHTS}{name}' cannot be fetched ({one_line(error)}); put "
            "the file "
            f"{known[name].url} into {torch.hub.get_dir()}/checkpoints, or name a weights file"
        ) from error
    return weights
