"""Tracing a model, with a check that the graph computes what the model does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.errors import first_line
from unitlens.memory_errors import lacks_memory
from unitlens.model.calling import bound_arguments
from unitlens.model.graph import Program, trace
from unitlens.model.inputs import AnyInputs, Inputs, tensors_in
from unitlens.model.observation import Observation, observe
from unitlens.model.precision import outputs_agree
from unitlens.model.restore import isolated_generators, restored_afterwards, seed_generators
from unitlens.model.rewriting import simplify


@contextmanager
def equal_randomness(device: torch.device) -> Iterator[None]:
    """Have a network that is random draw the same numbers in each of these blocks."""
    with isolated_generators(device):
        seed_generators(0, device)
        yield


def output_tensors(output: Any) -> list[Tensor]:
    """Return the tensors of an output."""
    return tensors_in(dict(output) if isinstance(output, Mapping) else output)


def _same_outputs(output: Any, expected: Any) -> bool:
    """Tell whether all tensors of two outputs agree."""
    ours, theirs = output_tensors(output), output_tensors(expected)
    return len(ours) == len(theirs) and all(map(outputs_agree, ours, theirs))


def checked_trace(
    model: nn.Module, example: AnyInputs, expected: Any, *, simplified: bool
) -> tuple[Program | None, Observation | None, str]:
    """Trace a model, and check on the example that the graph computes what the model does.

    Returns
    -------
    The program and its observation; or None twice, and the reason why the model cannot be traced.
    """
    try:
        with restored_afterwards(model):  # tracing may add attributes to modules
            given = bound_arguments(model, example) if isinstance(example, Inputs) else None
            program = trace(model, given)
        observation = observe(program, example)
        if simplified:
            simplify(program, observation)
        with equal_randomness(example.device):
            output = program.run(example)
    except Exception as error:  # a user's forward may raise anything on proxies
        if lacks_memory(error):
            raise
        return None, None, first_line(error)
    if not _same_outputs(output, expected):
        return None, None, "its graph gives other numbers than the model itself"
    return program, observation, ""
