"""Errors of a model's own ``forward``, told in one line with the remedy that fits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from unitlens.errors import ModelError, UnitlensError, first_line
from unitlens.memory_errors import lacks_memory
from unitlens.model.graph import Edit
from unitlens.model.inputs import AnyInputs, describe_inputs


@contextmanager
def user_forward(
    model: nn.Module, inputs: AnyInputs, own: Sequence[Exception] = ()
) -> Iterator[None]:
    """Raise ModelError for whatever a model raises in its forward pass.

    Errors of unitlens and errors for lack of memory stay as they are.

    Parameters
    ----------
    model
        The model that runs.
    inputs
        The batch that the model runs on.
    own
        Errors that are not of the model, and stay as they are.
    """
    try:
        yield
    except UnitlensError:
        raise
    except Exception as error:
        if lacks_memory(error) or any(error is one for one in own):
            raise
        raise ModelError(
            f"the model cannot be run on inputs of shape {describe_inputs(inputs)}: "
            f"{_told(error)}; {_remedy(model, error)}"
        ) from error


def noting_failure(edit: Edit, failed: list[Exception]) -> Edit:
    """Return an edit that keeps its errors, which are no errors of the model."""

    def apply(activation: Tensor) -> Tensor:
        try:
            return edit(activation)
        except Exception as error:
            failed.append(error)
            raise

    return apply


def _told(error: Exception) -> str:
    """Return an error's first line; with its class where the line alone says little."""
    name, line = type(error).__name__, first_line(error)
    return line if name in (line, "RuntimeError", "ValueError", "TypeError") else f"{name}: {line}"


def _remedy(model: nn.Module, error: Exception) -> str:
    if isinstance(error, NotImplementedError) and 'required "forward"' in str(error):
        return "give the module that has a forward of its own"
    if "Inference tensors" in str(error):
        return "make or load the model outside of torch.inference_mode(), which bars its gradients"
    dtypes = sorted({str(parameter.dtype) for parameter in model.parameters()})
    if len(dtypes) > 1 and "dtype" in str(error):
        return (
            f"its parameters have the types {', '.join(dtypes)}: convert them to one type, as in "
            "model.float()"
        )
    return "give inputs as the model takes them, and a model that takes any number of samples"
