"""Random numbers that depend on a seed and on what they are for, never on global state."""

import numpy as np


def seeded(seed: int, purpose: str, *where: int) -> np.random.Generator:
    """Return a generator of its own for one purpose, such as the shuffling of one epoch."""
    return np.random.default_rng([seed, *where, *purpose.encode()])


def derived_seed(seed: int, purpose: str, *where: int) -> int:
    """Return a seed for a generator that is not NumPy's."""
    return int(seeded(seed, purpose, *where).integers(2**63))
