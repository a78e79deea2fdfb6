"""Processes that read the items of a data set ahead, in the order in which they are asked for."""

import multiprocessing
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, TensorDataset

from unitlens.data.items_ahead import ItemsAhead
from unitlens.data.map_style import Indices
from unitlens.data.split import SplitDataset
from unitlens.data.worker_copies import copy_for_workers
from unitlens.data.worker_process import NUMBER_BYTES, STARTED, read_items
from unitlens.errors import ArgumentError, DatasetError, one_line

FEWEST_ITEMS = 4  # fewer are read by the process that asks
_PATIENCE = 2.0  # seconds that an ended process is waited for

_OPEN: ContextVar[tuple["LoadingWorkers", ...]] = ContextVar("open loading workers", default=())


@contextmanager
def loading_workers(workers: int, *datasets: Any) -> Iterator[None]:
    """Have processes read the items of data sets while the context lasts.

    :func:`read_ahead` finds the processes by the data set. Nothing is started for a data set that
    lies in memory, a TensorDataset or a prepared one, since nothing would be faster.

    Parameters
    ----------
    workers
        Number of processes of each data set; with 0 the items are read where they are used.
    *datasets
        Map-style data sets, whose items do not depend on the order in which they are read. None
        stands for no data set.

    Raises
    ------
    ArgumentError
        Where the number is below 0.
    DatasetError
        Where the data set can be given to no other process.
    """
    check_workers(workers)
    pools = _OPEN.get()
    for given in datasets if workers else ():
        dataset = given.dataset if isinstance(given, DataLoader) else given
        if not _is_in_memory(dataset) and all(pool.dataset is not dataset for pool in pools):
            pools = (*pools, LoadingWorkers(dataset, workers))
    opened = pools[len(_OPEN.get()) :]
    token = _OPEN.set(pools)
    try:
        for pool in opened:
            pool.start()
        yield
    finally:
        _OPEN.reset(token)
        for pool in opened:
            pool.close()


def _is_in_memory(dataset: Any) -> bool:
    prepared = isinstance(dataset, SplitDataset) and not dataset.streams
    return dataset is None or prepared or type(dataset) is TensorDataset


def check_workers(workers: Any) -> None:
    """Raise ArgumentError where a number of workers is no whole number from 0."""
    is_number = isinstance(workers, int | np.integer) and not isinstance(workers, bool)
    if not is_number or workers < 0:
        raise ArgumentError(
            f"workers is {workers!r}, but must be a whole number from 0; 0 reads without workers"
        )


@contextmanager
def read_ahead(dataset: Any, order: Indices, ahead: int) -> Iterator[Any]:
    """Yield a data set whose items are read ahead, where :func:`loading_workers` is open for it.

    Parameters
    ----------
    dataset
        The data set.
    order
        Indices of the items, in the order in which they will be asked for.
    ahead
        Number of items that may be read before they are asked for.

    Yields
    ------
    A map-style data set with the same items; `dataset` itself where there are no workers.
    """
    pools = [pool for pool in _OPEN.get() if pool.dataset is dataset]
    if not pools or len(order) < FEWEST_ITEMS:
        yield dataset
        return
    items = ItemsAhead(pools[-1], order, ahead)
    try:
        yield items
    finally:
        items.forget()


@dataclass
class _Worker:
    """A process, the connection to it, and the tasks that it has."""

    process: BaseProcess
    connection: Connection
    tasks: dict[int, list[int]] = field(default_factory=dict)
    started: bool = False


class LoadingWorkers:
    """Processes that read items of one data set.

    Parameters
    ----------
    dataset
        The data set.
    workers
        Number of processes.

    Attributes
    ----------
    dataset
        The data set.
    count
        Number of processes.
    """

    def __init__(self, dataset: Any, workers: int) -> None:
        self.dataset, self.count = dataset, workers
        self._context = multiprocessing.get_context()
        self._workers: list[_Worker] = []
        self._number = STARTED
        self._answers: dict[int, bytes] = {}
        self._forgotten: set[int] = set()

    def start(self) -> None:
        """Start the processes.

        Raises
        ------
        DatasetError
            Where the data set can be given to no other process, or no process can be started.
        """
        copy = copy_for_workers(self.dataset, forked=self._context.get_start_method() == "fork")
        try:
            for _ in range(self.count):
                ours, theirs = self._context.Pipe()
                arguments = (copy, theirs, ours)
                process = self._context.Process(target=read_items, args=arguments, daemon=True)
                process.start()
                theirs.close()
                self._workers.append(_Worker(process, ours))
        except (OSError, AssertionError, RuntimeError) as error:
            raise DatasetError(
                f"{self.count} workers cannot be started ({one_line(error)}); lower workers, put "
                "the calls of a script under `if __name__ == '__main__':`, or set workers to 0"
            ) from error

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.process.terminate()
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def ask(self, indices: list[int]) -> int:
        """Ask for items, and return the number of the task."""
        self._number += 1
        worker = min(self._workers, key=lambda one: len(one.tasks))
        worker.tasks[self._number] = indices
        try:
            worker.connection.send((self._number, indices))
        except OSError:
            raise self._death(worker) from None
        return self._number

    def answer(self, number: int) -> list[Any]:
        """Wait for the items of a task.

        Raises
        ------
        DatasetError
            Where a process has ended.
        """
        while number not in self._answers:
            self._receive()
        items: list[Any] = pickle.loads(self._answers.pop(number))  # noqa: S301
        return items

    def forget(self, number: int) -> None:
        """Let the answer of a task go unread."""
        if self._answers.pop(number, None) is None:
            self._forgotten.add(number)

    def _receive(self) -> None:
        ends = [worker.process.sentinel for worker in self._workers]
        ready = wait([*(worker.connection for worker in self._workers), *ends])
        speaking = [worker for worker in self._workers if worker.connection in ready]
        for worker in speaking:
            try:
                message = worker.connection.recv_bytes()
            except (EOFError, OSError):
                raise self._death(worker) from None
            number = int.from_bytes(message[:NUMBER_BYTES], "big")
            worker.started = True
            worker.tasks.pop(number, None)
            if number in self._forgotten:
                self._forgotten.remove(number)
            elif number != STARTED:
                self._answers[number] = message[NUMBER_BYTES:]
        if not speaking:
            raise self._death(next(one for one in self._workers if one.process.sentinel in ready))

    def _death(self, worker: _Worker) -> DatasetError:
        """Return the error of a process that has ended."""
        worker.process.join(_PATIENCE)
        code = worker.process.exitcode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {-code}" + (" (often for want of memory)" if code == -9 else "")
        if not worker.started:
            return DatasetError(
                f"a worker of the data set ended with {how} before it read an item; put the calls "
                "of a script under `if __name__ == '__main__':`, or set workers to 0"
            )
        indices = next(iter(worker.tasks.values()), [])
        which = f"the items {indices[0]} to {indices[-1]}" if indices else "items"
        return DatasetError(
            f"a worker of the data set ended with {how} while it read {which}; lower workers, or "
            "set workers to 0 to see the item"
        )
