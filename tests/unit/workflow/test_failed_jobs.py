import logging
import os
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from unitlens.workflow.failed_jobs import NOT_TRIED_AGAIN, OwnErrors


def told_of(log, *, event=LogEvent.JOB_ERROR, retries=2, attempt=1):
    """Tell a filter of a failed job, and return the job."""
    job = SimpleNamespace(jobid=7, attempt=attempt, restart_times=retries)
    other = SimpleNamespace(jobid=8, attempt=1, restart_times=retries)
    seen = OwnErrors(SimpleNamespace(dag=SimpleNamespace(jobs=[other, job])))
    record = logging.makeLogRecord({"event": event, "jobid": 7, "log": [str(log)]})
    assert seen.filter(record)
    assert other.attempt == 1
    return job


def tries_left(job):
    """Count as Snakemake's scheduler decides on another try."""
    return max(0, job.restart_times - (job.attempt - 1))


def test_job_that_ended_by_its_own_error__has_no_tries_left(tmp_path):
    log = tmp_path / "train.log"
    log.write_text(f"2026 ERROR unitlens: no data\nTraceback\n2026 ERROR {NOT_TRIED_AGAIN}\n")
    later = log.stat().st_mtime + 60
    os.utime(log, (later, later))

    assert tries_left(told_of(log)) == 0
    assert tries_left(told_of(log, attempt=2)) == 0
    assert told_of(log, retries=0).attempt == 1


@pytest.mark.parametrize(
    "text",
    ["", "2026 INFO epoch 3\n", f"2026 ERROR {NOT_TRIED_AGAIN}\n2026 INFO epoch 1\n", "\xff"],
)
def test_job_that_was_stopped__keeps_its_tries(text, tmp_path):
    log = tmp_path / "train.log"
    log.write_bytes(text.encode("latin-1"))
    later = log.stat().st_mtime + 60
    os.utime(log, (later, later))

    assert tries_left(told_of(log)) == 2


def test_log_of_an_earlier_start__says_nothing(tmp_path):
    log = tmp_path / "train.log"
    log.write_text(f"ERROR {NOT_TRIED_AGAIN}\n")
    os.utime(log, (1e9, 1e9))

    assert tries_left(told_of(log)) == 2


def test_log_that_is_not_there__says_nothing(tmp_path):
    assert tries_left(told_of(tmp_path / "train.log")) == 2


def test_other_events__are_let_pass(tmp_path):
    log = tmp_path / "train.log"
    log.write_text(f"ERROR {NOT_TRIED_AGAIN}\n")

    assert tries_left(told_of(log, event=LogEvent.JOB_FINISHED)) == 2
    seen = OwnErrors(SimpleNamespace())
    assert seen.filter(logging.makeLogRecord({"msg": "Select jobs to execute..."}))
