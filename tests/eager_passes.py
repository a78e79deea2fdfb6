"""Naive whole passes: the model itself runs, and each nonlinearity is intercepted as it is called.

No pass is traced, resumed or batched with others. `Nonlinearities` counts the calls of nonlinear
functions, names each call by the module that runs (forward hooks tell which), and edits outputs in
their memory, so that every later reader reads the edited output.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import unitlens as ul
from unitlens.perturbation.normal_numbers import element_normal, standard_normal
from unitlens.seeds import seeded

FUNCTIONS = frozenset(
    (
        *("celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh"),
        *("leaky_relu", "log_sigmoid", "mish", "prelu", "relu", "relu6", "rrelu", "selu"),
        *("sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink"),
    )
)


@dataclass
class Place:
    """A call of a nonlinearity: its name and its output."""

    name: str
    activation: torch.Tensor


class Nonlinearities(TorchFunctionMode):
    """Record the calls of nonlinear functions while a model runs, and edit their outputs.

    `edits[name]` changes an activation in place. `places` lists the calls in order, with copies of
    the activations before the edit.
    """

    def __init__(self, model, edits):
        super().__init__()
        self.places, self._edits = [], edits
        self._uses, self._running, self._gate, self._last = {}, [("", model)], None, None
        self._paths = {module: path for path, module in model.named_modules()}

    def enter(self, module, _):
        self._running.append((self._paths[module], module))

    def leave(self, *_):
        self._running.pop()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        kind = function.__name__.strip("_")
        rectifies = kind == "clamp" and kwargs.get("min") == 0
        if kind in FUNCTIONS or rectifies:
            self._gate = (args[0], output) if kind == "sigmoid" else None
            self._record(function.__name__, output)
        elif kind == "gru":  # the hidden units of the module
            self._record(function.__name__, output[0])
        elif kind == "mul" and self._gates(args):  # x * sigmoid(x): one place, not two
            self._uses[self.places.pop().name] -= 1
            self._gate = None
            self._record("mul", output)
        return output

    def _gates(self, args):
        mine = {id(argument) for argument in args}
        return self._gate is not None and mine == {id(value) for value in self._gate}

    def _record(self, function, output):
        path, module = self._running[-1]
        in_torch = type(module).__module__.startswith("torch.nn")
        containers = (nn.Sequential, nn.ModuleList)
        if not in_torch or isinstance(module, containers):
            path = f"{path}.{function}" if path else function
        use = self._uses.get(path, 0)
        self._uses[path] = use + 1
        name = f"{path}_{use}" if use else path
        self.places.append(Place(name, output.clone()))
        self._last = output
        if name in self._edits:
            self._edits[name](output)

    def before(self, output):
        """Return the places, without a place that returns the output of the model."""
        is_last = self._last is not None and self._last.data_ptr() == output.data_ptr()
        return self.places[:-1] if is_last else self.places


def run(model, inputs, edits=None):
    """Return the logits of a whole pass in eval mode, and the places of the pass."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    watch = Nonlinearities(model, edits or {})
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(watch.enter, prepend=True))
        handles.append(module.register_forward_hook(watch.leave))
    try:
        with torch.no_grad(), watch:
            output = find_logits(model(inputs.clone()))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    assert {place.name for place in watch.places} >= set(edits or ())
    return output, watch.before(output)


def find_logits(output):
    if isinstance(output, dict):
        return output["logits"]
    return output[0] if isinstance(output, tuple) else output


def scores(model, pairs, edits=None):
    """Return loss and hit of each sample."""
    logits, _ = run(model, pairs.inputs, edits)
    losses = functional.cross_entropy(logits.double(), pairs.labels, reduction="none")
    return losses.numpy(), (logits.argmax(1) == pairs.labels).numpy().astype(float)


def by_unit(activation, axis):
    """Return a view of an activation with the units on axis 1."""
    return activation.movedim(axis, 1)


def clamp(axis, channels, values):
    """Return an edit that sets some channels to values, at every position."""

    def edit(activation):
        units = by_unit(activation, axis)
        for channel, value in zip(channels, values, strict=True):
            units[:, channel] = float(value)

    return edit


@dataclass
class Network:
    """A network, the pairs that it is scored on, and the layers with units on the last axis.

    The names of the layers and their numbers of units come from a naive pass.
    """

    model: nn.Module
    pairs: object
    last: tuple[str, ...] = ()

    def __post_init__(self):
        self.activations = {
            place.name: place.activation
            for place in run(self.model, self.pairs.inputs)[1]
            if place.activation.dim() > 1
        }
        self.losses, self.hits = scores(self.model, self.pairs)
        self.tolerance = 1e-9 * max(self.losses.mean(), 1)

    def axis(self, name):
        return -1 if name in self.last else 1

    def units(self, names=None):
        """Return (layer, channel) of each unit in order."""
        return [
            (name, channel)
            for name in names or self.activations
            for channel in range(self.activations[name].shape[self.axis(name)])
        ]

    def means(self, names=None):
        """Return each unit's mean over samples and positions."""
        return [
            by_unit(self.activations[name], self.axis(name))[:, channel].mean().item()
            for name, channel in self.units(names)
        ]

    def variance(self, value=1.0):
        """Return the same variance for all units, as a measure."""
        names, channels = zip(*self.units(), strict=True)
        coordinates = {"layer": ("unit", list(names)), "channel": ("unit", list(channels))}
        return xr.DataArray(np.full(len(names), value), coordinates, "unit")


def assert_layers(network):
    """Assert that the layers are the nonlinearities of a pass, in order."""
    layers = ul.unit_layers(network.model, network.pairs.inputs)

    listed = [(layer.name, layer.shape, layer.axis) for layer in layers]
    assert listed == [
        (name, tuple(activation.shape[1:]), network.axis(name))
        for name, activation in network.activations.items()
    ]


def assert_unit_ablation(network, table, value=0.0):
    """Assert that a table equals whole passes; `value` is one number, or one number per unit."""
    units = list(zip(table.layer.values.tolist(), table.channel.values.tolist(), strict=True))
    values = np.broadcast_to(value, len(units))
    loss, drop, still = [], [], []
    for (name, channel), number in zip(units, values, strict=True):
        axis = network.axis(name)
        losses, hits = scores(
            network.model, network.pairs, {name: clamp(axis, [channel], [number])}
        )
        loss.append(losses - network.losses)
        drop.append(network.hits - hits)
        activation = by_unit(network.activations[name], axis)[:, channel]
        still.append(bool((activation == number).all()))
    loss, drop, still = np.array(loss), np.array(drop), np.array(still)
    assert np.abs(table.loss_increase - loss.mean(1)).max() <= network.tolerance
    assert (table.loss_increase.values[still] == 0.0).all()
    assert (table.accuracy_drop.values[still] == 0.0).all()
    np.testing.assert_allclose(table.accuracy_drop, drop.mean(1), atol=1e-12)
    if len(network.losses) > 1:
        error = loss.std(1, ddof=1) / np.sqrt(loss.shape[1])
        np.testing.assert_allclose(table.loss_increase_se, error, rtol=1e-6, atol=1e-7)
    for label in set(network.pairs.labels.tolist()):
        mine = drop[:, network.pairs.labels.numpy() == label].mean(1)
        np.testing.assert_allclose(table.class_accuracy_drop[:, label], mine, atol=1e-12)
    return loss


def assert_cumulative(network, curve, values, *, seed=0, layers=None):
    """Assert that the random orders of a curve equal masks in whole passes."""
    units = network.units(layers)
    values = np.broadcast_to(values, len(units))
    for number in range(curve.sizes["order"]):
        order = seeded(seed, "order", number).permutation(len(units))
        for point, ablated in enumerate(curve.ablated_units.values):
            edits = {}
            for name in {name for name, _ in units}:
                mine = [unit for unit in order[:ablated] if units[unit][0] == name]
                channels = [units[unit][1] for unit in mine]
                edits[name] = clamp(network.axis(name), channels, values[mine])
            losses, hits = scores(network.model, network.pairs, edits)
            difference = abs(float(curve.loss[number, point]) - losses.mean())
            assert difference <= network.tolerance
            assert abs(float(curve.accuracy[number, point]) - hits.mean()) < 1e-12


def assert_noise(network, noise, *, seed=0, variance=1.0):
    """Assert that the draws of a result equal the same noise in whole passes."""
    units = network.units()
    names = list(network.activations)
    counts = [sum(name == mine for name, _ in units) for mine in names]
    for draw in range(noise.sizes["draw"]):
        normal = standard_normal(seed, draw, 0, len(network.pairs), len(units)).double()
        parts = dict(zip(names, (normal * np.sqrt(variance)).split(counts, dim=1), strict=True))
        if noise.attrs["per"] == "element":
            parts |= dict(element_parts(network, seed, draw, variance))
        for number, scale in enumerate(noise.noise_scale.values):
            edits = {name: adding(network.axis(name), scale * part) for name, part in parts.items()}
            losses, hits = scores(network.model, network.pairs, edits)
            difference = abs(float(noise.loss[draw, number]) - losses.mean())
            assert difference <= network.tolerance
            assert abs(float(noise.accuracy[draw, number]) - hits.mean()) < 1e-12


def element_parts(network, seed, draw, variance):
    """Yield the noise of each layer of maps, with the units on axis 1."""
    for name, activation in network.activations.items():
        if activation.dim() > 2:
            samples, *shape = by_unit(activation, network.axis(name)).movedim(1, -1).shape
            normal = element_normal(seed, draw, range(samples), name, shape).double()
            yield name, normal.movedim(-1, 1) * np.sqrt(variance)


def adding(axis, noise):
    def edit(activation):
        units = by_unit(activation, axis)
        units += noise.reshape(*noise.shape, *[1] * (units.dim() - noise.dim()))

    return edit
