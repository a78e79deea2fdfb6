"""Jobs that ended by an error of their own are not tried again by Snakemake."""

import logging
import time
from pathlib import Path
from typing import Any

# The last line of the log of a job that ended by an error of its own.
NOT_TRIED_AGAIN = "another try would end in the same way: the job is not tried again"
_LAST_BYTES = 4096  # of a log, which hold its last line


class OwnErrors(logging.Filter):
    """Takes the further tries from a job whose log ends with :data:`NOT_TRIED_AGAIN`.

    Snakemake tells its logger of each failed job before it decides on another try, and an executor
    for a cluster hands on no exit status. Tries are for jobs that ran out of time or memory, were
    preempted or cancelled, or met a failing disk.

    Parameters
    ----------
    workflow
        The workflow of Snakemake, whose jobs are looked at.
    """

    def __init__(self, workflow: Any) -> None:
        super().__init__()
        self._workflow, self._start = workflow, time.time()

    def filter(self, record: logging.LogRecord) -> bool:
        """Look at a job that failed, and let each record pass."""
        if str(getattr(getattr(record, "event", None), "value", "")) == "job_error":
            number, logs = vars(record)["jobid"], vars(record)["log"]
            if any(map(self._ended_by_own_error, logs)):
                self._take_tries(number)
        return True

    def _ended_by_own_error(self, log: object) -> bool:
        """Tell whether a log says so. A log of an earlier start of the workflow says nothing."""
        path = Path(str(log))
        try:
            is_new = path.stat().st_mtime >= self._start
            return is_new and _last_line(path).endswith(NOT_TRIED_AGAIN)
        except OSError:
            return False

    def _take_tries(self, number: int) -> None:
        for job in self._workflow.dag.jobs:
            if job.jobid == number:
                # Setting `attempt` has the resources computed anew, within Snakemake's event loop,
                # which warns of it.
                name = "_attempt" if hasattr(job, "_attempt") else "attempt"
                setattr(job, name, max(job.attempt, job.restart_times + 1))


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return lines[-1] if lines else ""
