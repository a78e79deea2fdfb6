"""Find out whether a network is a chain behind its perturbed layers."""

from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from unitlens.model.graph import first_tensor
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.operations import function_name
from unitlens.model.rewriting import is_watched
from unitlens.perturbation.engine.chains import Block, Chain
from unitlens.perturbation.engine.readers import CONVOLVE, averages, flattens

_BY_CHANNEL = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Softsign),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
_BY_CHANNEL_FUNCTIONS = frozenset(("relu", "relu6", "tanh", "sigmoid", "gelu", "elu", "silu"))


def find_chain(network: UnitNetwork, layers: Sequence[UnitLayer]) -> Chain | None:
    """Return the network's end from the first of some layers on, None if it is no chain.

    Parameters
    ----------
    network
        The network.
    layers
        The layers that are perturbed, in the order of the forward pass.
    """
    program = network.program
    if program is None or any(layer.axis != 1 for layer in layers):
        return None
    chosen = {network.nodes[layer.name]: layer for layer in layers}
    start = network.nodes[layers[0].name]
    parts = [_Part(None, layers[0])]
    node, found = start, {start}
    while node not in program.output.all_input_nodes:
        users = list(node.users)
        if len(users) != 1 or users[0].args[:1] != (node,):
            return None
        (user,) = users
        module = program.modules.get(user)
        if _is_weighted(network, node, user):
            parts.append(_Part(module, None))
        elif _is_flattening(network, node, user):
            pass  # the dense operation behind it flattens what it is given
        elif _treats_channels_alone(network, node, user):
            parts[-1].add(user, chosen.get(user))
        else:
            return None
        found.add(user)
        node = user
    if first_tensor(program.output.args[0]) is not node or not set(chosen) <= found:
        return None
    if len(parts) < 2 or parts[-1].layer is not None:
        return None
    blocks = tuple(part.block() for part in parts)
    return Chain(program, blocks, frozenset((start,)), program.index[start])


class _Part:
    """A block in the making."""

    def __init__(self, module: Any, layer: UnitLayer | None) -> None:
        self._module, self.layer = module, layer
        self._before: list[fx.Node] = []
        self._after: list[fx.Node] = []

    def add(self, node: fx.Node, layer: UnitLayer | None) -> None:
        behind = self.layer is not None
        (self._after if behind else self._before).append(node)
        if layer is not None:
            self.layer = layer

    def block(self) -> Block:
        return Block(self._module, tuple(self._before), self.layer, tuple(self._after))


def _is_weighted(network: UnitNetwork, node: fx.Node, user: fx.Node) -> bool:
    program, observation = network.program, network.observation
    if program is None or observation is None:
        return False
    module: Any = program.modules.get(user)
    if module is None or is_watched(module):
        return False
    if type(module) is nn.Linear:
        return bool(observation.two[node].dim() == 2)
    return type(module) in CONVOLVE and module.groups == 1 and module.padding_mode == "zeros"


def _is_flattening(network: UnitNetwork, node: fx.Node, user: fx.Node) -> bool:
    """Tell whether a node flattens the positions of each channel for the dense one behind it."""
    program, observation = network.program, network.observation
    if program is None or observation is None or len(user.users) != 1:
        return False
    dense = type(program.modules.get(next(iter(user.users)))) is nn.Linear
    return dense and flattens(program, observation, node, user)


def _treats_channels_alone(network: UnitNetwork, node: fx.Node, user: fx.Node) -> bool:
    program, observation = network.program, network.observation
    if program is None or observation is None:
        return False
    if averages(program, observation, node, user):
        return True
    module = program.modules.get(user)
    if module is not None:
        return type(module) in _BY_CHANNEL and not is_watched(module)
    if user.op not in ("call_function", "call_method") or len(user.all_input_nodes) != 1:
        return False
    return function_name(user.target) in _BY_CHANNEL_FUNCTIONS
