"""A traced network rewritten so that it computes the same numbers with less work."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from unitlens.model.graph import Program
from unitlens.model.observation import Observation

_FOLDABLE = {
    nn.Linear: (nn.BatchNorm1d,),
    nn.Conv1d: (nn.BatchNorm1d,),
    nn.Conv2d: (nn.BatchNorm2d,),
    nn.Conv3d: (nn.BatchNorm3d,),
}
_PASSING = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    *(nn.FeatureAlphaDropout, nn.Identity),
)


def simplify(program: Program, observation: Observation) -> None:
    """Rewrite a program for inference in eval mode; the model itself stays as it is.

    Batch norm is folded into the dense or convolutional operation that it alone reads, dropout
    and identities are left out, and on a CPU two-dimensional convolutions in float32 work on
    channels-last memory. Modules with hooks or of a user's own class stay as they are.

    Parameters
    ----------
    program
        The program. Its modules are replaced by copies where they change.
    observation
        What was observed of it, which stays true.
    """
    for node in list(program.nodes):
        module = program.modules.get(node)
        if type(module) in _PASSING and not is_watched(module):
            _leave_out(program, node)
        elif module is not None:
            _fold(program, observation, node, module)
        elif node.op == "call_method" and node.target == "view":
            _reshape(node)
    for node, module in program.modules.items():
        program.modules[node] = _channels_last(module)
    program.relink()


def extra_bytes(program: Program, model: nn.Module) -> int:
    """Return the bytes of the parameters that a program holds beside those of its model."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    copies = {
        parameter.data_ptr(): parameter.numel() * parameter.element_size()
        for module in program.modules.values()
        for parameter in module.parameters()
    }
    return sum(size for place, size in copies.items() if place not in own)


def _leave_out(program: Program, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])
    program.remove(node)


def _reshape(node: fx.Node) -> None:
    """Let a view copy where it must: channels-last maps cannot be viewed as flat."""
    if all(isinstance(size, int | fx.Node) for size in node.args[1:]):
        node.target = "reshape"


def _fold(program: Program, observation: Observation, node: fx.Node, norm: Any) -> None:
    source = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
    if source is None or len(source.users) != 1:
        return
    before: Any = program.modules.get(source)
    if type(norm) not in _FOLDABLE.get(type(before), ()) or is_watched(before, norm):
        return
    if norm.running_mean is None or norm.training:
        return
    if type(before) is not nn.Linear:
        # At once: copies of all weights in both orders would be there together otherwise.
        program.modules[source] = _channels_last(fuse_conv_bn_eval(before, norm))
    elif observation.two[source].dim() == 2:  # else batch norm takes another axis
        program.modules[source] = fuse_linear_bn_eval(before, norm)
    else:
        return
    _leave_out(program, node)


def _channels_last(module: nn.Module) -> nn.Module:
    if type(module) is not nn.Conv2d or is_watched(module):
        return module
    weight = module.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return module
    moved = copy.copy(module)
    moved._parameters = dict(module._parameters)  # noqa: SLF001  else both have one weight
    moved.weight = nn.Parameter(weight.detach().to(memory_format=torch.channels_last), False)  # noqa: FBT003
    return moved


def is_watched(*modules: nn.Module | None) -> bool:
    """Tell whether hooks or a forward of its own make a module do more than its class does."""
    return any("forward" in vars(module) or any(_hooks(module)) for module in modules if module)


def _hooks(module: nn.Module) -> Iterator[object]:
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        yield getattr(module, name, None)
