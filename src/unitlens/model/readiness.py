"""What must hold of a model before it can be run, and how PyTorch runs it meanwhile."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from unitlens.errors import ModelError


def check_weights(model: nn.Module) -> None:
    """Raise ModelError where the model has no weights to compute with.

    Parameters
    ----------
    model
        The model.

    Examples
    --------
    >>> check_weights(nn.Linear(2, 3))
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ModelError(
                f"the model's '{name}' has no values yet, for its module is lazy; run the model on "
                "a batch once before: model(example)"
            )
        if tensor.is_meta:
            raise ModelError(
                f"the model's '{name}' is on the device meta and has no values; load weights onto "
                "another device before: model.to_empty(device='cpu'), model.load_state_dict(...)"
            )


@contextmanager
def operation_by_operation() -> Iterator[None]:
    """Have PyTorch run modules operation by operation, not in fused or compiled ones."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        with ExitStack() as stack:
            if "torch._dynamo" in sys.modules:  # only then is anything compiled
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
