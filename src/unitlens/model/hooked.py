"""Networks that cannot be traced: forward hooks read and replace their activations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.model.calling import call_model
from unitlens.model.graph import Edit, find_logits, same_storage
from unitlens.model.inputs import AnyInputs
from unitlens.model.memory_watch import MemoryWatch
from unitlens.model.operations import (
    NONLINEAR_MODULES,
    WeightedOperation,
    is_weighted_module,
    weighted_operation,
)

# Called with the name of a call, the module and the activation. Returns a replacement, or None.
CallHook = Callable[[str, nn.Module, Tensor], Tensor | None]


class HookedNetwork:
    """A model whose layers of units are the calls of its activation modules.

    A call bears the name of the module; a second call of the same module gets ``_1``.

    Parameters
    ----------
    model
        The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._nonlinear = [
            (name, module)
            for name, module in model.named_modules()
            if isinstance(module, NONLINEAR_MODULES)
        ]

    def run(self, inputs: AnyInputs, edits: Mapping[str, Edit]) -> Any:
        """Run the model with some activations replaced.

        Parameters
        ----------
        inputs
            One batch.
        edits
            For the name of a call, a function of its activation that returns the replacement.

        Returns
        -------
        The output of the model.
        """

        def edit(name: str, module: nn.Module, activation: Tensor) -> Tensor | None:
            if name not in edits:
                return None
            edited = edits[name](activation)
            if getattr(module, "inplace", False) and edited is not activation:
                return activation.copy_(edited)  # other modules may read the same memory
            return edited

        with self._hooked(edit):
            return call_model(self._model, inputs)

    def calls(
        self, inputs: AnyInputs
    ) -> tuple[dict[str, tuple[Tensor, WeightedOperation]], MemoryWatch]:
        """Run the model and record the calls of its activation modules.

        Parameters
        ----------
        inputs
            One batch.

        Returns
        -------
        For the name of each call, its activation as a meta tensor and the last weighted module
        called before; and the memory of the pass. A call whose result is the output of the model is
        left out.
        """
        recorded: dict[str, tuple[Tensor, WeightedOperation]] = {}
        last_call: list[tuple[str, Tensor]] = []
        weighted: list[nn.Module] = []

        def record(name: str, _: nn.Module, activation: Tensor) -> None:
            meta = torch.empty_like(activation, device="meta")
            recorded[name] = (
                meta,
                weighted_operation(weighted[-1]) if weighted else WeightedOperation(None, None),
            )
            last_call[:] = [(name, activation)]

        def record_weighted(module: nn.Module, *_: Any) -> None:
            weighted.append(module)

        handles = [
            m.register_forward_hook(record_weighted)
            for m in self._model.modules()
            if is_weighted_module(m)
        ]
        try:
            with self._hooked(record), MemoryWatch() as memory:
                logits = find_logits(call_model(self._model, inputs))
        finally:
            for handle in handles:
                handle.remove()
        for name, activation in last_call:
            if same_storage(activation, logits) and logits.shape[:2] == activation.shape[:2]:
                del recorded[name]
        return recorded, memory

    @contextmanager
    def _hooked(self, call_hook: CallHook) -> Iterator[None]:
        """Call a function at each call of an activation module inside the block."""
        calls: dict[str, int] = {}

        def make_hook(name: str) -> Callable[..., Tensor | None]:
            def hook(module: nn.Module, _: Any, activation: Tensor) -> Tensor | None:
                number = calls.get(name, 0)
                calls[name] = number + 1
                return call_hook(f"{name}_{number}" if number else name, module, activation)

            return hook

        handles = [
            module.register_forward_hook(make_hook(name)) for name, module in self._nonlinear
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
