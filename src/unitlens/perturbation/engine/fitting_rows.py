"""Rows that run at once, fewer where memory turns out to be too little."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unitlens.memory_errors import lacks_memory
from unitlens.perturbation.engine.readers import PerturbedPairs

logger = logging.getLogger("unitlens")


@dataclass
class FittingRows:
    """The number of rows that memory holds, as far as it has been seen.

    Attributes
    ----------
    most
        Largest number of rows that run at once; None while memory has always sufficed.
    """

    most: int | None = None

    def run(self, outputs: Callable[[PerturbedPairs], Tensor], pairs: PerturbedPairs) -> Tensor:
        """Return the outputs of rows. Where memory is used up, half as many run at once.

        Parameters
        ----------
        outputs
            Function of some rows that returns their outputs.
        pairs
            The rows.
        """
        if self.most is not None and len(pairs) > self.most:
            return torch.cat([self.run(outputs, some) for some in pairs.split(self.most)])
        try:
            return outputs(pairs)
        except Exception as error:
            if not lacks_memory(error) or len(pairs) < 2:
                raise
        # Here, the values that the error has kept alive are gone.
        self.most = len(pairs) // 2
        logger.warning("memory is used up by %d rows at once: %d run now", len(pairs), self.most)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.run(outputs, pairs)
