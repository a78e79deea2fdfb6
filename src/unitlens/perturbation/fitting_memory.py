"""Calls that begin again with half of their memory limit where memory is used up."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

from unitlens.errors import UsedUpMemoryError
from unitlens.perturbation.partial_calls import saved_files

logger = logging.getLogger("unitlens")

# The last try has a 16th of the memory that the first one has. A network whose single samples do
# not fit fails soon; it is not to fail too often.
HALVINGS = 4

Given = ParamSpec("Given")
Result = TypeVar("Result")


def fitting_memory(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a function begin again with half of its ``memory_gb`` where memory is used up.

    Batches then hold fewer samples and rows. A call that has saved sums does not begin again, for
    they would be lost.

    Parameters
    ----------
    function
        The function. It raises UsedUpMemoryError with the limit that it had.

    Returns
    -------
    The function that begins again.
    """

    @wraps(function)
    def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
        given: dict[str, Any] = dict(options)
        for _ in range(HALVINGS):
            try:
                return function(*arguments, **given)
            except UsedUpMemoryError as error:
                limit = error.memory_gb
                if limit is None or saved_files(given.get("checkpoint")):
                    raise
            # Here, the values that the error has kept alive are gone.
            given["memory_gb"] = limit / 2
            logger.warning(
                "memory is used up with memory_gb=%g: %s begins again with %g",
                limit, function.__name__, limit / 2,
            )  # fmt: skip
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return function(*arguments, **given)

    return call
