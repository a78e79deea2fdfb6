"""What runs in a process that reads items of a data set for another process."""

import os
import pickle
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch

from unitlens.data.worker_copies import WorkerCopy, pickled
from unitlens.errors import one_line
from unitlens.model.precision import autocast_disabled

NUMBER_BYTES = 8  # the number of the task, in front of the pickled answer
STARTED = 0  # number of the first answer, which says that the data set is there
_PATIENCE = 5  # seconds between two looks at whether the other process still lives


@dataclass(frozen=True)
class ItemFailure:
    """The exception that a data set raised in place of an item."""

    error: Exception


def read_items(copy: WorkerCopy, connection: Connection, other_end: Connection) -> None:
    """Read the items of each task that comes in, until the other process closes the connection.

    Parameters
    ----------
    copy
        The data set.
    connection
        Brings a number and the indices of the items; takes the number and the pickled items. The
        first answer has the number :data:`STARTED`.
    other_end
        The end of the connection that the other process holds, which is closed here.
    """
    other_end.close()
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # the threads of a forked process are gone, and torch would wait
    outbox: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_send_all, args=(outbox, connection), daemon=True).start()
    dataset = copy.open()
    outbox.put(STARTED.to_bytes(NUMBER_BYTES, "big"))
    with torch.inference_mode(mode=False), autocast_disabled(torch.device("cpu")):
        for number, indices in _tasks(connection, parent):
            outbox.put(number.to_bytes(NUMBER_BYTES, "big") + _read(dataset, indices))


def _tasks(connection: Connection, parent: int) -> Iterator[tuple[int, list[int]]]:
    """Yield tasks until the other process closes the connection, or has ended."""
    while os.getppid() == parent:
        try:
            if connection.poll(_PATIENCE):
                yield connection.recv()
        except (EOFError, OSError):
            return


def _send_all(outbox: "SimpleQueue[bytes]", connection: Connection) -> None:
    """Send answers while the next ones are made."""
    while True:
        try:
            connection.send_bytes(outbox.get())
        except OSError:  # the other process has ended
            return


def _read(dataset: Any, indices: list[int]) -> bytes:
    """Return the pickled items, up to the first that fails, and the failure in its place."""
    items: list[Any] = []
    for index in indices:
        try:
            items.append(dataset[index])
        except Exception as error:  # noqa: BLE001 - the data set is the user's
            items.append(ItemFailure(_portable(error)))
            break
    try:
        return pickled(items)
    except Exception as error:  # noqa: BLE001 - an item that cannot be pickled
        if len(indices) == 1:
            return pickled([ItemFailure(_portable(error))])
        return pickled([pickle.loads(_read(dataset, [index]))[0] for index in indices])  # noqa: S301


def _portable(error: Exception) -> Exception:
    """Return an exception that can be pickled, with its traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickled(error))  # noqa: S301
    except Exception:  # noqa: BLE001 - an exception with arguments of its own
        text = f"{type(error).__name__}: {one_line(error)}"
        return RuntimeError(text)
    return error
