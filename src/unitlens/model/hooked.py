"""Networks that cannot be traced: their activation modules are reached by forward hooks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.model.graph import Edit, first_tensor, same_storage
from unitlens.model.memory_watch import MemoryWatch
from unitlens.model.operations import NONLINEAR_MODULES, Source, is_source, source_of

Visitor = Callable[[str, nn.Module, Tensor], Tensor | None]


class HookedNetwork:
    """A model whose activation modules are named by module, a second call with ``_1``."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._nonlinear = [
            (name, module)
            for name, module in model.named_modules()
            if isinstance(module, NONLINEAR_MODULES)
        ]

    def run(self, inputs: Tensor, edits: Mapping[str, Edit]) -> Any:
        """Run the model; `edits` replace what the calls of the activation modules return."""

        def edit(name: str, module: nn.Module, activation: Tensor) -> Tensor | None:
            if name not in edits:
                return None
            edited = edits[name](activation)
            if getattr(module, "inplace", False) and edited is not activation:
                return activation.copy_(edited)  # others may read the memory it was written to
            return edited

        with self._visited(edit):
            return self._model(inputs)

    def calls(self, inputs: Tensor) -> tuple[dict[str, tuple[Tensor, Source]], MemoryWatch]:
        """Return each call's activation (as a meta tensor) and the weighted module called before.

        The call that makes the model's output is left out. And the memory of the pass.
        """
        found: dict[str, tuple[Tensor, Source]] = {}
        last: list[tuple[str, Tensor]] = []
        sources: list[nn.Module] = []

        def note(name: str, _: nn.Module, activation: Tensor) -> None:
            meta = torch.empty_like(activation, device="meta")
            found[name] = (meta, source_of(sources[-1]) if sources else Source(None, None))
            last[:] = [(name, activation)]

        def note_source(module: nn.Module, *_: Any) -> None:
            sources.append(module)

        handles = [
            m.register_forward_hook(note_source) for m in self._model.modules() if is_source(m)
        ]
        try:
            with self._visited(note), MemoryWatch() as memory:
                logits = first_tensor(self._model(inputs))
        finally:
            for handle in handles:
                handle.remove()
        if last and same_storage(last[0][1], logits) and logits.shape[:2] == last[0][1].shape[:2]:
            del found[last[0][0]]
        return found, memory

    @contextmanager
    def _visited(self, visit: Visitor) -> Iterator[None]:
        """Let `visit` see every call of an activation module, and perhaps replace its result."""
        uses: dict[str, int] = {}

        def hook_for(name: str) -> Callable[..., Tensor | None]:
            def hook(module: nn.Module, _: Any, activation: Tensor) -> Tensor | None:
                number = uses.get(name, 0)
                uses[name] = number + 1
                return visit(f"{name}_{number}" if number else name, module, activation)

            return hook

        handles = [module.register_forward_hook(hook_for(name)) for name, module in self._nonlinear]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
