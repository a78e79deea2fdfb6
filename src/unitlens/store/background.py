"""Writing shards while the next samples are computed."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

# Bytes of bands that may wait to be written, beside those that are being filled.
PENDING_BYTES = 2**26
LANES = 2


class Background:
    """A few threads that work off what they are given, until something fails.

    What is given to one lane is done in that order. What waits is bounded: who gives more than
    `pending_bytes` waits, except for a single thing that is larger. After a failure nothing else is
    begun, and whoever comes gets the failure. Calls come from one thread.
    """

    def __init__(self, pending_bytes: int = PENDING_BYTES) -> None:
        self._limit = pending_bytes
        self._lanes = [
            ThreadPoolExecutor(1, thread_name_prefix="unitlens-shards") for _ in range(LANES)
        ]
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._failure: BaseException | None = None

    def submit(self, action: Callable[[], None], nbytes: int, lane: int) -> None:
        """Have `action`, which holds so many bytes, worked off; raise what failed before it."""
        while self._pending and self._pending[0][0].done():
            self._pending.popleft()
        while self._pending and nbytes + sum(waits for _, waits in self._pending) > self._limit:
            self._pending.popleft()[0].result()
        self._raise()
        future = self._lanes[lane % LANES].submit(self._run, action)
        self._pending.append((future, nbytes))

    def drain(self) -> None:
        """Wait until all is done; raise what failed."""
        while self._pending:
            self._pending.popleft()[0].result()
        self._raise()

    def close(self) -> None:
        """Wait until all is done, or nothing more is begun, and end the threads."""
        for lane in self._lanes:
            lane.shutdown()
        self._pending.clear()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self, action: Callable[[], None]) -> None:
        if self._failure is not None:
            return
        try:
            action()
        except BaseException as failure:  # noqa: BLE001  it is raised where the next call comes
            self._failure = failure
