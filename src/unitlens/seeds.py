"""Random generators that depend on a seed and a purpose, never on global state."""

import numpy as np


def seeded(seed: int, purpose: str, *where: int) -> np.random.Generator:
    """Return a random generator for one purpose.

    Parameters
    ----------
    seed
        The seed of the user or the run.
    purpose
        Name of the purpose, such as ``order``. Each purpose has a generator of its own, so that a
        new purpose changes no other numbers.
    where
        Numbers that tell several generators of one purpose apart, such as the epoch.

    Examples
    --------
    >>> int(seeded(0, "order", 3).integers(1000)) == int(seeded(0, "order", 3).integers(1000))
    True
    """
    return np.random.default_rng([seed, *where, *purpose.encode()])


def derived_seed(seed: int, purpose: str, *where: int) -> int:
    """Return a seed in 0..2^63 for a generator of another library, such as PyTorch.

    The arguments are those of :func:`seeded`.
    """
    return int(seeded(seed, purpose, *where).integers(2**63))
