"""How a model is called: inputs of several tensors become the arguments of ``forward``."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from unitlens.errors import ModelError
from unitlens.model.inputs import AnyInputs, Inputs

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
Call = tuple[tuple[Any, ...], dict[str, Any]]


def argument_names(model: nn.Module) -> frozenset[str] | None:
    """Return the names of the arguments of a model's forward; None where it names none.

    Examples
    --------
    >>> sorted(argument_names(nn.Linear(1, 1)))
    ['input']
    """
    parameters = inspect.signature(model.forward).parameters.values()
    return frozenset(of.name for of in parameters if of.kind in _NAMED) or None


def call_model(model: nn.Module, inputs: AnyInputs) -> Any:
    """Call a model on a batch.

    Parameters
    ----------
    model
        The model.
    inputs
        One tensor, or :class:`~unitlens.model.inputs.Inputs`. The entries of a tuple or list are
        positional arguments, those of a dictionary are keyword arguments, where ``forward`` takes
        them so. Where ``forward`` takes a single argument, it gets the whole structure.

    Raises
    ------
    ModelError
        Where ``forward`` takes neither.
    """
    args, kwargs = call_arguments(model, inputs)
    return model(*args, **kwargs)


def call_arguments(model: nn.Module, inputs: AnyInputs) -> Call:
    """Return the positional and the keyword arguments of :func:`call_model`."""
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    value = inputs.value
    parameters = [*inspect.signature(model.forward).parameters.values()]
    required = [
        parameter
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
    ]
    if isinstance(value, Mapping):
        needed = {parameter.name for parameter in required}
        any_name = any(of.kind is inspect.Parameter.VAR_KEYWORD for of in parameters)
        if needed <= set(value) and (any_name or set(value) <= (argument_names(model) or set())):
            return (), dict(value)
    else:
        positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
        many = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
        if len(required) <= len(value) and (many or len(value) <= len(positional)):
            return tuple(value), {}
    if len(required) == 1 and required[0].kind in _POSITIONAL:
        return (value,), {}
    raise ModelError(_misfit(model, value, [parameter.name for parameter in parameters]))


def bound_arguments(model: nn.Module, inputs: AnyInputs) -> dict[str, Any]:
    """Return the arguments of :func:`call_model` by the names of the parameters of ``forward``."""
    args, kwargs = call_arguments(model, inputs)
    return dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)


def _misfit(model: nn.Module, value: Any, names: list[str]) -> str:
    given = (
        f"the keys {', '.join(map(str, value))}"
        if isinstance(value, Mapping)
        else (f"{len(value)} tensors")
    )
    return (
        f"an input has {given}, but forward of {type(model).__name__} takes {', '.join(names)}; "
        "name the entries as forward does, or wrap the model in a module that takes them"
    )


def check_call(model: nn.Module, inputs: AnyInputs) -> None:
    """Raise ModelError where a batch does not fit the arguments of a model's forward."""
    if isinstance(inputs, Inputs):
        call_arguments(model, inputs)
