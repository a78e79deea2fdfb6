"""Normal numbers of the noise, which depend on the seed, the draw and the place of a sample."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np
import torch
from torch import Tensor

from unitlens.seeds import derived_seed, seeded

# Samples for whose units one random generator draws. Another number gives other noise for a seed.
NOISE_BLOCK = 64
# Fewer numbers are not worth a further thread.
_DRAWN_BY_A_THREAD = 2**18


def standard_normal(seed: int, draw: int, start: int, stop: int, units: int) -> Tensor:
    """Return the normal numbers of one draw for units, for the samples from `start` to `stop`.

    Parameters
    ----------
    seed, draw
        Seed and number of the draw.
    start, stop
        Positions among the scored samples.
    units
        Number of units of all layers.

    Returns
    -------
    Shape (stop - start, units), float32, on the CPU.

    Examples
    --------
    >>> whole, part = standard_normal(0, 0, 0, 5, 2), standard_normal(0, 0, 3, 5, 2)
    >>> torch.equal(whole[3:], part)
    True
    """
    blocks = range(start // NOISE_BLOCK, -(-stop // NOISE_BLOCK))
    drawn = [_block(seed, draw, block, units) for block in blocks]
    offset = blocks.start * NOISE_BLOCK
    return torch.cat(drawn)[start - offset : stop - offset]


def _block(seed: int, draw: int, block: int, units: int) -> Tensor:
    generator = torch.Generator().manual_seed(derived_seed(seed, "noise", draw, block))
    return torch.randn((NOISE_BLOCK, units), generator=generator, dtype=torch.float32)


def element_normal(
    seed: int, draw: int, samples: Sequence[int], layer: str, shape: Sequence[int]
) -> Tensor:
    """Return the normal numbers of one draw for the elements of a layer.

    Parameters
    ----------
    seed, draw
        Seed and number of the draw.
    samples
        Positions among the scored samples.
    layer
        Name of the layer.
    shape
        Shape of the positions, then the number of units.

    Returns
    -------
    Shape (samples, positions ..., units), float32, on the CPU. The numbers of a sample depend on
    `seed`, `draw`, its position and `layer`. Along a single axis of positions, those of the first
    positions do not depend on how many positions there are.

    Examples
    --------
    >>> whole = element_normal(0, 0, range(3), "relu", (4, 2))
    >>> torch.equal(element_normal(0, 0, [2], "relu", (3, 2))[0], whole[2, :3])
    True
    """
    numbers = np.empty((len(samples), prod(shape)), np.float32)

    def fill(row: int) -> None:
        generator = seeded(seed, f"noise of {layer}", draw, samples[row])
        generator.standard_normal(out=numbers[row], dtype=np.float32)

    threads = min(torch.get_num_threads(), 1 + numbers.size // _DRAWN_BY_A_THREAD)
    if threads == 1:
        deque(map(fill, range(len(samples))), maxlen=0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            deque(pool.map(fill, range(len(samples))), maxlen=0)
    return torch.from_numpy(numbers).reshape(len(samples), *shape)
