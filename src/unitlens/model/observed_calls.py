"""Every call of a function and of a module in a plain forward pass, as it happens."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unitlens.model.call_graph import CallNames, first_tensor, is_single_node
from unitlens.model.operations import node_name


@dataclass(frozen=True)
class ObservedCall:
    """A call that has just returned.

    Attributes
    ----------
    name
        Path of the module that is being called, then the name of the function; or the path of a
        module. A second call of the same name gets ``_1``.
    path
        The name without this number.
    target
        The function or module.
    args, kwargs
        Its arguments.
    result
        What it returned.
    inside
        Number of the calls that were seen before it began; the calls since then are inside of it.
    """

    name: str
    path: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    inside: int

    @property
    def works_in_place(self) -> bool:
        """Whether the result is an argument itself, changed."""
        if getattr(self.target, "inplace", False):
            return True
        if not any(self.result is argument for argument in (*self.args, *self.kwargs.values())):
            return False
        name = getattr(self.target, "__name__", "")
        in_name = name.startswith("__i") or name == "__setitem__" or not name.endswith("__")
        flagged = True in [value for value in self.args[1:] if isinstance(value, bool)]
        flagged |= bool(self.kwargs.get("inplace")) or self.kwargs.get("out") is not None
        return flagged or (name.endswith("_") and in_name)


# Called after each call; returns the result to go on with.
Observer = Callable[[ObservedCall], Any]


class CallMode(TorchFunctionMode):
    """A context in which an observer sees every call of a model's forward pass.

    Calls inside of PyTorch's own modules that compute, such as ``torch.nn.GELU``, count as the call
    of the module. Modules that are made inside of ``forward`` have no path: their functions count
    as those of the module that makes them.

    Parameters
    ----------
    model
        The model.
    observer
        Function of a call that returns the result to go on with.
    """

    def __init__(self, model: nn.Module, observer: Observer) -> None:
        super().__init__()
        self._model, self._observer = model, observer
        self._names, self._seen = CallNames(), 0
        self._scopes: list[tuple[str, int]] = [("", 0)]
        self._muted = 0

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Observe the calls inside the block."""
        with ExitStack() as stack:
            for path, module in self._model.named_modules():
                if path:
                    before, after = self._hooks(path)
                    handles = (
                        module.register_forward_pre_hook(before, prepend=True),
                        module.register_forward_hook(after, with_kwargs=True, always_call=True),
                    )
                    for handle in handles:
                        stack.callback(handle.remove)
            stack.enter_context(self)
            yield

    def _hooks(self, path: str) -> tuple[Callable[..., None], Callable[..., Any]]:
        def before(module: nn.Module, _: Any) -> None:
            self._scopes.append((path, self._seen))
            self._muted += is_single_node(module)

        def after(module: nn.Module, args: Any, kwargs: Any, result: Any) -> Any:
            _, inside = self._scopes.pop()
            self._muted -= is_single_node(module)
            if self._muted or result is None:
                return None
            return self._observe(path, module, args, kwargs, result, inside)

        return before, after

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Answer PyTorch, which else imports its compiler (over a second) at the first use."""
        return False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run a function and show it to the observer."""
        result = func(*args, **(kwargs or {}))
        if self._muted:
            return result
        scope, operation = self._scopes[-1][0], node_name(func)
        path = f"{scope}.{operation}" if scope else operation
        if operation == "__setitem__" and is_observable(args[0]):
            self._observe(path, func, args, {}, args[0], self._seen)
        if not is_observable(result):
            return result
        return self._observe(path, func, args, kwargs or {}, result, self._seen)

    def _observe(
        self, path: str, target: Any, args: Any, kwargs: Any, result: Any, inside: int
    ) -> Any:
        call = ObservedCall(self._names.next(path), path, target, args, kwargs, result, inside)
        self._seen += 1
        self._muted += 1  # the observer's own operations are no calls of the model
        try:
            return self._observer(call)
        finally:
            self._muted -= 1


def is_observable(result: Any) -> bool:
    """Tell whether a value has a tensor, which is none of a vectorised map."""
    tensor = first_tensor(result)
    return tensor is not None and not _is_wrapped(tensor)


def _is_wrapped(tensor: Tensor) -> bool:
    from torch._C._functorch import is_functorch_wrapped_tensor

    return bool(is_functorch_wrapped_tensor(tensor))
