"""The list of the layers of units of a model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.config.base import DeclaredLayer, LastLayers
from unitlens.errors import ArgumentError, LayerError, ModelError
from unitlens.model.layers import UnitLayers
from unitlens.model.network import UnitNetwork
from unitlens.model.precision import forward_precision

_SPREAD = 13  # items over a data set that are run beside the first three


def unit_layers(
    model: nn.Module,
    example: Any,
    *,
    layers: Sequence[str | DeclaredLayer] | int | LastLayers | None = None,
    strict: bool = False,
) -> UnitLayers:
    """Find the layers of units of a model.

    A layer of units is the output of a nonlinearity: of a module, of a function, or of an
    expression such as ``x * torch.sigmoid(x)``. Repeated calls of one module count as well. The
    hidden units of ``torch.nn.LSTM``, ``GRU`` and ``RNN`` are a layer too. The output of the model
    is no layer. Layers have the names that ``torchvision.models.feature_extraction`` gives to graph
    nodes, or the name of the module that is the activation.

    What looks like units and is left out is told by a warning, :class:`unitlens.UnitsWarning`, and
    by the attribute `left_out` of the result.

    Parameters
    ----------
    model
        Any module that takes one tensor. Its mode, hooks, buffers and device are as before
        afterwards. Of a module that ``torch.compile``, ``DataParallel`` and their like have
        wrapped, the layers are those of the module inside.
    example
        One batch of inputs, (samples, ...), of at least one sample; or one input, or a data set,
        of which the first items and some of the others are taken.
    layers
        Names or patterns of layers, of modules or of graph nodes, or results of
        :func:`unitlens.layer`; or a number of last layers; by default all that are found.
    strict
        Whether an error is raised where units are left out.

    Returns
    -------
    :class:`UnitLayers`, a sequence of :class:`UnitLayer` in the order of the forward pass. A layer
    has a `name`, a `depth` from 0, the number of its `units`, and the `shape` of the activation of
    one sample. ``layers["relu1"]`` is the layer of that name. Declared layers have depths above
    those of all layers that are found.

    Units lie on axis 1 of an activation (samples, ...) of two, four or more dimensions, and on the
    last axis of three dimensions, unless the nearest weighted operation before it says otherwise: a
    dense layer or layer norm has channels last, a convolution or batch norm has channels on axis 1.

    Raises
    ------
    ArgumentError
        Where `example` is empty.
    LayerError
        Where a chosen layer does not exist, or units are left out and `strict` is true.
    ModelError
        Where the model cannot be run on `example`, its output holds no tensor, it is scripted or
        exported, or it has no weights yet.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(
    ...     nn.Conv2d(1, 8, 3),
    ...     nn.ReLU(),
    ...     nn.Flatten(),
    ...     nn.Linear(288, 5),
    ...     nn.Tanh(),
    ...     nn.Linear(5, 2),
    ... )
    >>> layers = unit_layers(model, torch.zeros(1, 1, 8, 8))
    >>> layers
    depth  layer  units  shape
        0  1          8  8 x 6 x 6
        1  4          5  5
    2 layers, 13 units, named by graph nodes
    >>> layers["1"].units, layers[0].positions
    (8, 36)
    """
    batch = _batch(example)
    try:
        return _list_layers(model, batch, layers, strict=strict)
    except ModelError:
        if not isinstance(example, Tensor):
            raise
        try:  # an example without an axis of samples
            return _list_layers(model, example.unsqueeze(0), layers, strict=strict)
        except ModelError:
            pass
        raise


def _list_layers(model: nn.Module, batch: Any, choice: Any, *, strict: bool) -> UnitLayers:
    device = getattr(batch, "device", torch.device("cpu"))
    with forward_precision(None, device), UnitNetwork(model, batch) as network:
        found = network.layers
        if choice is None:
            network.find_other_calls(batch)
        if strict and found.left_out:
            raise LayerError(
                f"units are left out of the layers: {'; '.join(found.reasons())}; name the layers "
                "to use, or call unit_layers with strict=False"
            )
        if choice is None:
            network.warn_of_left_out()
            return found
        return UnitLayers(
            network.choose(choice),
            traced=found.traced,
            reason=found.reason,
            left_out=found.left_out,
            modules=found.modules,
        )


def _batch(example: Any) -> Any:
    """Return a batch: of a data set, the inputs of its first items and of some others."""
    if isinstance(example, Tensor) or not hasattr(example, "__getitem__"):
        return example
    if isinstance(example, dict | tuple | list) or not hasattr(example, "__len__"):
        return example
    if not len(example):
        raise ArgumentError("the data set is empty, but must have at least one sample")
    count = len(example)
    spread = [count * place // _SPREAD for place in range(_SPREAD)]
    inputs = []
    for index in dict.fromkeys((*range(min(3, count)), *spread)):
        item = example[index]
        inputs.append(torch.as_tensor(item[0] if isinstance(item, tuple | list) else item))
    alike = [one for one in inputs if one.shape == inputs[0].shape]
    return torch.stack(alike if len(alike) > 3 else inputs[:3])
