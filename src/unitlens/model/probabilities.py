"""Outputs that look like probabilities, where logits are expected."""

import torch
from torch import Tensor

from unitlens.model.network import UnitNetwork
from unitlens.model.operations import is_weighted_module

SOFTMAX = (
    "the network puts out numbers within 0..1 whose rows sum to 1, as after softmax, but the loss "
    "takes them for logits"
)
SIGMOID = (
    "the network puts out numbers within 0..1, as after sigmoid, but the loss takes them for logits"
)
_FEWEST = 16  # numbers within 0..1 that cannot be logits by chance
_ROUNDING = 1e-5
_SUM = {torch.float16: 1e-2, torch.bfloat16: 5e-2}  # how far sums of rows may lie from 1
_PLAIN_SUM = 1e-3


def find_probabilities(network: UnitNetwork, output: Tensor) -> str | None:
    """Return in words that outputs look like probabilities, None where they may be logits.

    Parameters
    ----------
    network
        The network, entered.
    output
        Its output on some samples, (samples, classes).
    """
    if output.dim() != 2 or not output.numel() or not output.is_floating_point():
        return None
    low, high = output.double().aminmax()
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN is neither
        return None
    error = (output.double().sum(1) - 1).abs().amax()
    if output.shape[1] > 1 and error <= _SUM.get(output.dtype, _PLAIN_SUM):
        return SOFTMAX
    if output.numel() < _FEWEST or _ends_in_weights(network):
        return None
    return SIGMOID if low > 0 or high >= 1 else None  # else zeros, as after ReLU


def _ends_in_weights(network: UnitNetwork) -> bool:
    """Tell whether the last operation is a dense one or a convolution, which has no bounds."""
    if network.program is None:
        return False
    module = network.program.modules.get(network.logits_node) if network.logits_node else None
    return module is not None and is_weighted_module(module)
