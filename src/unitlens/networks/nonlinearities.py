"""What counts as a nonlinearity, as a module, a function or a method.

Softmax and its kin are left out: their outputs are weights that sum to one, not units.
"""

from typing import Any

from torch import nn

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
CLAMPS = frozenset(("clamp", "clamp_min", "clip"))


def is_nonlinear_function(function: Any) -> bool:
    """Tell whether a function of torch, or the name of a tensor's method, is a nonlinearity."""
    if isinstance(function, str):
        return function.rstrip("_") in NONLINEAR_FUNCTIONS
    return _of_torch(function) and function_name(function) in NONLINEAR_FUNCTIONS


def function_name(function: Any) -> str:
    """Return the name of a function or method without the underscore of in-place versions."""
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    return name.rstrip("_") or name


def is_rectifying_clamp(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether a call is ``clamp(x, min=0)`` in one of its spellings: a ReLU."""
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
