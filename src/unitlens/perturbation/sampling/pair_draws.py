"""Random numbers of pairs of a unit and a sample, each from a hash of its own."""

import numpy as np
import numpy.typing as npt

from unitlens.seeds import derived_seed

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_UNIT, _SAMPLE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)  # odd


def pair_uniforms(seed: int, purpose: str, units: Ints, samples: Ints) -> npt.NDArray[np.float64]:
    """Return a number in 0..1 for each pair of a unit and a sample.

    The number of a pair depends on the arguments of this pair alone, so that batches, parts of the
    units and subsets of the samples draw the same pairs. Numbers are the upper 53 bits of the
    finaliser of SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195).

    Parameters
    ----------
    seed
        Seed of all draws.
    purpose
        Name of the purpose. Draws of two purposes are independent.
    units
        Number of each unit among all units, (units,).
    samples
        Number of each sample in the data set, (samples,).

    Returns
    -------
    Array of shape (units, samples).

    Examples
    --------
    >>> import numpy as np
    >>> whole = pair_uniforms(0, "pairs", np.arange(4), np.arange(3))
    >>> part = pair_uniforms(0, "pairs", np.arange(1, 4, 2), np.arange(3))
    >>> bool((whole[1::2] == part).all())
    True
    """
    start = np.uint64(derived_seed(seed, purpose))
    of_units = _mixed(units.astype(np.uint64) * _UNIT + start)
    of_samples = _mixed(samples.astype(np.uint64) * _SAMPLE + _mixed(np.array([start])))
    mixed = _mixed(of_units[:, None] + of_samples[None, :])
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(numbers: Hashes) -> Hashes:
    """Return hashes of numbers: the finaliser of SplitMix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = numbers ^ (numbers >> np.uint64(31))
    return mixed
