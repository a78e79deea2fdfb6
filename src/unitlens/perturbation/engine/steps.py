"""Steps of a batch: rows that the engine runs at once.

Before each step, the engine asks whether the step is due. The order and the sizes of the steps do
not depend on the answers. When the engine asks, the caller has taken all that earlier steps
yielded. So a call that has the results of the first steps of a batch can leave these steps out.
"""

from collections.abc import Callable

IsDue = Callable[[int], bool]


def every_step(_: int) -> bool:
    """Tell that a step is due, however many rows it has: pairs of a perturbation and a sample."""
    return True
