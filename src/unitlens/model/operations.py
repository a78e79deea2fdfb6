"""Operations of a network: nonlinearities, weighted operations, and the axis of the units."""

from typing import Any, NamedTuple

from torch import Tensor, fx, nn

from unitlens.model.call_graph import CallGraph

NONLINEAR_MODULES: tuple[type[nn.Module], ...] = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.GLU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,  # ReLU6 is one of its subclasses
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.PReLU,
    nn.ReLU,
    nn.RReLU,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
)
NONLINEAR_FUNCTIONS = frozenset(
    (
        *("celu", "elu", "gelu", "glu", "leaky_relu", "mish", "prelu", "relu", "relu6", "rrelu"),
        *("selu", "silu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "softplus"),
        *("softshrink", "softsign", "sigmoid", "expit", "special_expit", "logsigmoid"),
        *("log_sigmoid", "tanh", "tanhshrink"),
    )
)
# Names of the operators of tensors: in place and reflected ones count as the plain ones.
_ARITHMETIC = (
    "add",
    "sub",
    "mul",
    "div",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
)
_OPERATORS = {f"__{kind}{name}__": name for name in _ARITHMETIC for kind in ("", "r", "i")} | {
    f"__{name}__": name
    for name in ("gt", "ge", "lt", "le", "eq", "ne", "neg", "pos", "invert", "getitem", "abs")
}
CLAMPS = frozenset(("clamp", "clamp_min", "clip"))


def is_nonlinear_function(function: Any) -> bool:
    """Tell whether a function of torch, or the name of a tensor's method, is a nonlinearity."""
    if isinstance(function, str):
        return function.rstrip("_") in NONLINEAR_FUNCTIONS
    return _of_torch(function) and function_name(function) in NONLINEAR_FUNCTIONS


def function_name(function: Any) -> str:
    """Return the name of a function or method, without the underscore of an in-place version.

    Examples
    --------
    >>> function_name("relu_"), function_name(Tensor.__rmul__), function_name(Tensor.__imul__)
    ('relu', 'mul', 'mul')
    """
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    if name in _OPERATORS:
        return _OPERATORS[name]
    return name.rstrip("_") or name


def node_name(function: Any) -> str:
    """Return the name that torch.fx gives to the call of a function, without its number.

    Examples
    --------
    >>> node_name(Tensor.relu_), node_name(Tensor.__gt__), node_name(Tensor.__rmul__)
    ('relu_', 'gt', 'mul')
    """
    name = getattr(function, "__name__", "") or type(function).__name__
    return "getattr" if name == "__get__" else _OPERATORS.get(name, name)


def is_rectifying_clamp(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether a call is a ReLU written as ``clamp(x, min=0)``, ``clamp_min`` or ``clip``.

    Parameters
    ----------
    function
        The function, or the name of a tensor's method.
    args
        Positional arguments of the call.
    kwargs
        Keyword arguments of the call.
    """
    if function_name(function) not in CLAMPS or (
        not isinstance(function, str) and not _of_torch(function)
    ):
        return False
    bounds = dict(zip(("min", "max"), args[1:], strict=False)) | kwargs
    low = bounds.get("min")
    return isinstance(low, int | float) and low == 0


def _of_torch(function: Any) -> bool:
    module = getattr(function, "__module__", None) or type(function).__module__
    return str(module).split(".")[0] in ("torch", "builtins")


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm)
CHANNELS_FIRST = (*CONVOLUTIONS, *TRANSPOSED, *BATCH_NORMS, nn.GroupNorm)
_LAST_FUNCTIONS = frozenset(("linear", "layer_norm"))
_FIRST_FUNCTIONS = frozenset(("conv1d", "conv2d", "conv3d", "batch_norm", "group_norm"))
_CHANNEL_MODULES = (*BATCH_NORMS, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity)
_CHANNEL_FUNCTIONS = frozenset(
    (
        *("add", "sub", "mul", "truediv", "neg", "contiguous", "clone", "float"),
        *("batch_norm", "dropout", "dropout1d", "dropout2d", "dropout3d"),
    )
)


class WeightedOperation(NamedTuple):
    """The nearest weighted operation before a nonlinearity.

    Attributes
    ----------
    channels_last
        Whether its channels lie on the last axis; None where unknown.
    width
        Number of its output channels; None where unknown.
    """

    channels_last: bool | None
    width: int | None


def is_weighted_module(module: nn.Module) -> bool:
    """Tell whether a module determines the axis of the units after it."""
    return isinstance(module, CHANNELS_LAST + CHANNELS_FIRST)


def unit_axis(activation: Tensor, source: WeightedOperation) -> int:
    """Return the axis of the units of an activation (samples, ...).

    Parameters
    ----------
    activation
        The activation, of at least two dimensions; only its shape is read.
    source
        The weighted operation before it.

    Returns
    -------
    1 or -1. For two dimensions it is 1; for three dimensions -1 unless the operation has channels
    first; for more dimensions 1 unless the operation has channels last. Where only the other axis
    has as many entries as the operation has output channels, it is the other axis. One output
    channel says nothing of an axis, for axes of one entry are many.
    """
    if activation.dim() == 2:
        return 1
    last = activation.dim() == 3 if source.channels_last is None else source.channels_last
    axis, other = (-1, 1) if last else (1, -1)
    width = source.width
    if width not in (None, 1) and activation.shape[axis] != width == activation.shape[other]:
        return other
    return axis


def weighted_operation(module: nn.Module) -> WeightedOperation:
    """Return the description of a weighted module."""
    return WeightedOperation(isinstance(module, CHANNELS_LAST), module_width(module))


def nearest_weighted_operation(program: CallGraph, node: fx.Node) -> WeightedOperation:
    """Return the nearest weighted operation before a node, by a breadth-first search."""
    queue: list[fx.Node] = list(node.all_input_nodes)
    visited: set[fx.Node] = set()
    while queue:
        earlier = queue.pop(0)
        if earlier in visited:
            continue
        visited.add(earlier)
        module = program.modules.get(earlier)
        if module is not None and is_weighted_module(module):
            return weighted_operation(module)
        name = function_name(earlier.target) if earlier.op == "call_function" else ""
        if name in _LAST_FUNCTIONS | _FIRST_FUNCTIONS:
            return WeightedOperation(name in _LAST_FUNCTIONS, None)
        queue += earlier.all_input_nodes
    return WeightedOperation(None, None)


def module_width(module: Any) -> int | None:
    """Return the number of output channels of a module, None where it has no such attribute."""
    for name in ("out_features", "out_channels", "num_features", "num_channels"):
        if isinstance(getattr(module, name, None), int):
            return int(getattr(module, name))
    if isinstance(module, nn.LayerNorm):
        return int(module.normalized_shape[-1])
    return None


def weighted_input(program: CallGraph, node: fx.Node) -> fx.Node | None:
    """Return the node of the dense or convolutional operation whose output a nonlinearity reads.

    Parameters
    ----------
    program
        The program.
    node
        Node of the nonlinearity.

    Returns
    -------
    The node. Between both nodes lie only operations on single channels. None where the nonlinearity
    reads several values (a residual sum), or the output of another operation.
    """
    while True:
        inputs = [earlier for earlier in node.all_input_nodes if earlier.op != "get_attr"]
        if node in program.written:
            inputs = [program.written[node]]
        if len(inputs) != 1:
            return None
        node = inputs[0]
        if is_weighted(program, node):
            return node
        if not _acts_on_channels(program, node):
            return None


def is_weighted(program: CallGraph, node: fx.Node) -> bool:
    """Tell whether a node is a dense or convolutional operation."""
    if node in program.modules:
        return isinstance(program.modules[node], (nn.Linear, *CONVOLUTIONS, *TRANSPOSED))
    return node.op == "call_function" and function_name(node.target) in (
        "linear",
        "conv1d",
        "conv2d",
        "conv3d",
    )


def _acts_on_channels(program: CallGraph, node: fx.Node) -> bool:
    """Tell whether an operation computes each channel from the same channel alone."""
    if node in program.modules:
        module = program.modules[node]
        return isinstance(module, (*_CHANNEL_MODULES, *NONLINEAR_MODULES)) and not isinstance(
            module, nn.GLU
        )
    if node.op not in ("call_function", "call_method"):
        return False
    return function_name(node.target) in _CHANNEL_FUNCTIONS or is_nonlinear_function(node.target)
