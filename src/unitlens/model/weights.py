"""The hash of a network's weights, and the L1 norm of the weights into each unit."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, fx, nn

from unitlens.model.graph import Program
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.operations import TRANSPOSED, weighted_input
from unitlens.variables.declarations import VARIABLES
from unitlens.variables.unit_index import unit_coordinates


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 over the names, types, shapes and values of all weights and buffers."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        total.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        total.update(np.ascontiguousarray(values.reshape(-1).view(torch.uint8).numpy()).data)
    return total.hexdigest()


Floats = npt.NDArray[np.float64]


def l1_norms(model: nn.Module, example: Tensor) -> xr.DataArray:
    """Sum the absolute incoming weights of every unit.

    The weights are those of the dense or convolutional operation that feeds the unit's
    nonlinearity, alone and through nothing but operations that treat each channel by itself
    (batch norm, dropout, other nonlinearities, arithmetic with constants). They are taken as they
    stand: batch norm's scale is not multiplied in, biases do not count.

    Parameters
    ----------
    model
        Any module that takes one tensor; it comes back as it was.
    example
        One batch of its inputs.

    Returns
    -------
    Float64 on `unit` with coordinates `layer`, `depth` and `channel`. NaN where a unit has no
    weights of its own: behind a residual sum, a concatenation, or a pooling, where the channels
    of the operation are not the units, and in a model that cannot be traced.

    Raises
    ------
    ModelError
        Where the model cannot be run on the example.
    """
    with UnitNetwork(model, example) as network:
        norms = [_norms_of(network, layer) for layer in network.layers]
        rows = [(layer.name, layer.depth, layer.units) for layer in network.layers]
    declared = VARIABLES["l1_norm"]
    described = {name: getattr(declared, name) for name in ("long_name", "units", "description")}
    values = np.concatenate(norms) if norms else np.empty(0)
    return xr.DataArray(values, unit_coordinates(rows), "unit", "l1_norm", described)


def _norms_of(network: UnitNetwork, layer: UnitLayer) -> Floats:
    missing = np.full(layer.units, np.nan)
    if network.program is None:
        return missing
    source = weighted_input(network.program, network.nodes[layer.name])
    norms = None if source is None else _row_norms(network.program, source)
    return norms if norms is not None and len(norms) == layer.units else missing


def _row_norms(program: Program, node: fx.Node) -> Floats | None:
    """Return the sum of absolute weights into each output channel of an operation."""
    module = program.modules.get(node)
    weight: Any = module.weight if module is not None else program.constant(_weight_node(node))
    if not isinstance(weight, Tensor):
        return None
    absolute = weight.detach().to("cpu", torch.float64).abs()
    if isinstance(module, TRANSPOSED):  # (in, out / groups, ...)
        by_group = absolute.flatten(2).sum(2).reshape(module.groups, -1, absolute.shape[1])
        absolute = by_group.sum(1).reshape(-1, 1)
    norms: Floats = absolute.flatten(1).sum(1).numpy()
    return norms


def _weight_node(node: fx.Node) -> Any:
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
