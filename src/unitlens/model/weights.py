"""Hashes of a network's weights and modules, and the L1 norm of the weights into each unit."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from unitlens.model.graph import Program
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.operations import TRANSPOSED, weighted_input

if TYPE_CHECKING:
    import xarray as xr

Floats = npt.NDArray[np.float64]


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of the names, dtypes, shapes and values of all weights and buffers.

    Extra state of modules that is no tensor is left out.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> before = weights_hash(model)
    >>> _ = nn.init.zeros_(model.bias)
    >>> weights_hash(model) == before
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            values = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(np.ascontiguousarray(values.reshape(-1).view(torch.uint8).numpy()).data)
    return digest.hexdigest()


def modules_hash(model: nn.Module) -> str:
    """Return the SHA-256 of the names and classes of all modules.

    It changes where a module without weights is replaced, such as ReLU by Tanh.

    Examples
    --------
    >>> relu, tanh = (nn.Sequential(nn.Linear(2, 2), kind()) for kind in (nn.ReLU, nn.Tanh))
    >>> modules_hash(relu) == modules_hash(tanh)
    False
    """
    lines = [f"{name} {type(module).__qualname__}\n" for name, module in model.named_modules()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def l1_norms(model: nn.Module, example: Tensor) -> "xr.DataArray":
    """Sum the absolute incoming weights of every unit.

    The weights are those of the dense or convolutional operation before the unit's nonlinearity.
    Only operations that treat each channel by itself (batch norm, dropout, other nonlinearities,
    arithmetic with constants) may lie between the two. The scale of batch norm is not multiplied
    in, and biases do not count.

    Parameters
    ----------
    model
        Any module that takes one tensor; it comes back as it was.
    example
        One batch of inputs.

    Returns
    -------
    Float64 on `unit` with coordinates `layer`, `depth` and `channel`. NaN where a unit has no
    weights of its own: behind a residual sum, a concatenation, or a pooling, where the channels
    of the operation are not the units, and in a model that cannot be traced.

    Raises
    ------
    ModelError
        Where the model cannot be run on the example.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> _ = nn.init.constant_(model[0].weight, -0.5)
    >>> l1_norms(model, torch.zeros(1, 2)).values.tolist()
    [1.0, 1.0, 1.0]
    """
    import xarray as xr

    from unitlens.variables.declarations import VARIABLES
    from unitlens.variables.unit_index import unit_coordinates

    with UnitNetwork(model, example) as network:
        norms = [_layer_norms(network, layer) for layer in network.layers]
        rows = [(layer.name, layer.depth, layer.units) for layer in network.layers]
    declared = VARIABLES["l1_norm"]
    described = {name: getattr(declared, name) for name in ("long_name", "units", "description")}
    values = np.concatenate(norms) if norms else np.empty(0)
    return xr.DataArray(values, unit_coordinates(rows), "unit", "l1_norm", described)


def _layer_norms(network: UnitNetwork, layer: UnitLayer) -> Floats:
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
