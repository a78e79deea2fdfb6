"""Orders in which units or directions are ablated, and the sizes of the nested sets of an order."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from unitlens.errors import ArgumentError
from unitlens.perturbation.bases import Basis
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Session
from unitlens.seeds import seeded

Ints = npt.NDArray[np.int64]


def nested_sizes(ranks: Mapping[str, Ints], points: int) -> Ints:
    """Return the numbers of units or directions that are ablated, ascending."""
    size = len(next(iter(ranks.values())))
    return np.unique(np.round(np.linspace(0, size, points)).astype(np.int64))


def check_counts(orders: int, points: int, *, ordered: bool) -> None:
    """Raise ArgumentError where numbers of orders or of sets are out of their range."""
    if points < 2:
        raise ArgumentError(f"points is {points}, but must be at least 2: none and all units")
    if orders < 0 or (orders == 0 and not ordered):
        raise ArgumentError(
            f"orders is {orders}, but must be at least 1, or 0 where measures are given in by or "
            "directions in basis"
        )


def order_ranks(
    session: Session,
    directions: Basis | None,
    orders: int,
    keys: Mapping[str, Floats],
    seed: int,
) -> dict[str, Ints]:
    """Return, for each order, the rank of each unit or direction."""
    size = session.units if directions is None else directions.size
    sequences = {
        f"random-{number}": seeded(seed, "order", number).permutation(size)
        for number in range(orders)
    }
    for name, numbers in keys.items():
        sequences[f"{name}-ascending"] = np.argsort(numbers, kind="stable")
        sequences[f"{name}-descending"] = np.argsort(-numbers, kind="stable")
    return {name: np.argsort(sequence) for name, sequence in sequences.items()}
