"""A data set whose items other processes read before they are asked for."""

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unitlens.data.worker_process import ItemFailure

if TYPE_CHECKING:
    from unitlens.data.loading_workers import LoadingWorkers

LONGEST_TASK = 16  # items


class ItemsAhead:
    """A data set whose items other processes read before they are asked for.

    Parameters
    ----------
    workers
        The processes.
    order
        Indices of the items, in the order in which they will be asked for. An item that is asked
        for out of this order is read where it is asked for.
    ahead
        Number of items that may be read before they are asked for.

    Attributes
    ----------
    dataset
        The data set itself.
    """

    def __init__(self, workers: "LoadingWorkers", order: npt.NDArray[np.int64], ahead: int) -> None:
        self._workers, self.dataset = workers, workers.dataset
        size = int(np.clip(len(order) // (4 * workers.count), 1, LONGEST_TASK))
        indices = order.tolist()
        self._waiting = deque(indices[at : at + size] for at in range(0, len(indices), size))
        self._most_asked = max(2 * workers.count, -(-ahead // size))
        self._asked: deque[tuple[int, list[int]]] = deque()
        self._read: deque[tuple[int, Any]] = deque()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not self._read:
            self._receive()
        if not self._read or self._read[0][0] != index:
            return self.dataset[index]
        _, item = self._read.popleft()
        if isinstance(item, ItemFailure):
            raise item.error
        return item

    def forget(self) -> None:
        """Let all items that were not asked for go unread."""
        self._waiting.clear()
        while self._asked:
            self._workers.forget(self._asked.popleft()[0])

    def _receive(self) -> None:
        """Have more items read, and wait for the next ones in the order."""
        while self._waiting and len(self._asked) < self._most_asked:
            indices = self._waiting.popleft()
            self._asked.append((self._workers.ask(indices), indices))
        if self._asked:
            number, indices = self._asked.popleft()
            self._read.extend(zip(indices, self._workers.answer(number), strict=False))
