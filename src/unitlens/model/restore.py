"""Contexts after which a user's model, or PyTorch's random generators, are as before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def restored_afterwards(
    model: nn.Module,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[nn.Module]:
    """Put a model into eval mode, on a device and in a dtype, and restore it afterwards.

    Parameters
    ----------
    model
        The model.
    device
        Device inside the block; the model's own if None.
    dtype
        Dtype of floating-point parameters and buffers inside the block; their own if None.

    Yields
    ------
    The same model. After the block, also after an exception, each submodule has the attributes,
    hooks and mode that it had before, and each parameter and buffer its storage and values.
    """
    attributes = [(module, _copy_attributes(module)) for module in model.modules()]
    storages = [(parameter, parameter.data) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        _move(model, device, dtype)
        yield model.eval()
    finally:
        for module, before in attributes:
            _restore(module, before)
        for parameter, data in storages:
            if parameter.data is not data and parameter.data_ptr() != data.data_ptr():
                parameter.data = data
        for buffer, values in buffers:
            if not torch.equal(buffer, values):
                buffer.copy_(values)


def _copy_attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Return each attribute of a module, with a shallow copy of each dictionary (else None)."""
    return {
        name: (value, value.copy() if isinstance(value, dict) else None)
        for name, value in vars(module).items()
    }


def _restore(module: nn.Module, before: dict[str, tuple[Any, Any]]) -> None:
    attributes = vars(module)
    for name in [name for name in attributes if name not in before]:
        del attributes[name]
    for name, (value, content) in before.items():
        if content is not None:
            value.clear()
            value.update(content)
        attributes[name] = value


def _move(model: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
    def convert(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype if tensor.is_floating_point() else None)

    for parameter in model.parameters():
        parameter.data = convert(parameter.data)
    for module in model.modules():
        for name, buffer in module._buffers.items():  # noqa: SLF001  no public way to rebind one
            if buffer is not None:
                module._buffers[name] = convert(buffer)  # noqa: SLF001


@contextmanager
def isolated_generators(device: torch.device) -> Iterator[None]:
    """Restore the random generators of the CPU and of `device` after the block."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the random generators of the CPU and of `device`, and no others."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def generator_states(device: torch.device) -> list[Tensor]:
    """Return the states of the random generators of the CPU and, for a GPU, of `device`."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def restore_generators(states: list[Tensor], device: torch.device) -> None:
    """Set the random generators to states that :func:`generator_states` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
