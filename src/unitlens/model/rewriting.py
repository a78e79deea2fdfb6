"""Rewriting of a traced network, so that it computes the same numbers with less work."""

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from unitlens.model.graph import Program
from unitlens.model.observation import Observation

# Classes of batch norm that can be fused into each class of weighted module.
_FUSABLE = {
    nn.Linear: (nn.BatchNorm1d,),
    nn.Conv1d: (nn.BatchNorm1d,),
    nn.Conv2d: (nn.BatchNorm2d,),
    nn.Conv3d: (nn.BatchNorm3d,),
}
# Modules that return their input in eval mode.
_IDENTITIES = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    *(nn.FeatureAlphaDropout, nn.Identity),
)


def simplify(program: Program, observation: Observation) -> None:
    """Rewrite a program for inference in eval mode; the model itself is not changed.

    Batch norm is fused into the dense or convolutional module before it, where nothing else reads
    that module. Dropout and identities are removed. On a CPU, two-dimensional convolutions in
    float32 work on channels-last memory. Modules with hooks or of a user's own class stay.

    Parameters
    ----------
    program
        The program. Modules that change are replaced by copies.
    observation
        Observation of the program; it stays valid.
    """
    for node in list(program.nodes):
        module = program.modules.get(node)
        if type(module) in _IDENTITIES and not is_patched(module):
            _remove(program, node)
        elif module is not None:
            _fuse_batch_norm(program, observation, node, module)
        elif node.op == "call_method" and node.target == "view":
            _allow_copy(node)
    for node, module in program.modules.items():
        program.modules[node] = _channels_last(module)
    program.relink()


def copied_parameter_bytes(program: Program, model: nn.Module) -> int:
    """Return the bytes of the parameters of a program that are not those of its model.

    Parameters
    ----------
    program
        The rewritten program.
    model
        Its model.
    """
    own = {parameter.data_ptr() for parameter in model.parameters()}
    sizes = {
        parameter.data_ptr(): parameter.numel() * parameter.element_size()
        for module in program.modules.values()
        for parameter in module.parameters()
    }
    return sum(size for address, size in sizes.items() if address not in own)


def _remove(program: Program, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])
    program.remove(node)


def _allow_copy(node: fx.Node) -> None:
    """Replace ``view`` by ``reshape``: channels-last maps cannot be flattened without a copy."""
    if all(isinstance(size, int | fx.Node) for size in node.args[1:]):
        node.target = "reshape"


def _fuse_batch_norm(program: Program, observation: Observation, node: fx.Node, norm: Any) -> None:
    source = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
    if source is None or len(source.users) != 1:
        return
    weighted: Any = program.modules.get(source)
    if type(norm) not in _FUSABLE.get(type(weighted), ()) or is_patched(weighted, norm):
        return
    if norm.running_mean is None or norm.training:
        return
    if type(weighted) is not nn.Linear:
        # Moved here and not later, so that at most one weight is there in both memory layouts.
        program.modules[source] = _channels_last(fuse_conv_bn_eval(weighted, norm))
    elif observation.two[source].dim() == 2:  # with more dimensions it normalises another axis
        program.modules[source] = fuse_linear_bn_eval(weighted, norm)
    else:
        return
    _remove(program, node)


def _channels_last(module: nn.Module) -> nn.Module:
    if type(module) is not nn.Conv2d or is_patched(module):
        return module
    weight = module.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return module
    converted = copy.copy(module)
    converted._parameters = dict(module._parameters)  # noqa: SLF001  else both share a weight
    values = weight.detach().to(memory_format=torch.channels_last)
    converted.weight = nn.Parameter(values, requires_grad=False)
    return converted


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_patched(*modules: nn.Module | None) -> bool:
    """Tell whether any of the modules has hooks, or a forward that is not that of its class.

    Such a module computes more than its class says. None counts as a module without either.
    """
    return any(
        "forward" in vars(module) or any(getattr(module, name, None) for name in _HOOKS)
        for module in modules
        if module
    )
