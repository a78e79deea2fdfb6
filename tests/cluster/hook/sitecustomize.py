"""Have a job stop in its middle, or need much memory, where a test asked for it by a file.

`UNITLENS_TEST_REQUESTS` names a folder. A file `STEP.WORD` there asks the next job of the step
whose command line has the word to stop once some of its work is saved. The job makes it
`STEP.WORD.stopped`, with its number, and stands still until it is ended or a file `STEP.WORD.go` is
there. A file `STEP.WORD.megabytes` asks each such job to take that much memory.

Snakemake looks after its jobs every two seconds: the executor waits ten seconds longer at each look
that finds no finished job.
"""

import os
import sys
import time
from pathlib import Path


def install(folder):
    command = sys.orig_argv
    if "snakemake" in command[:4]:
        look_often()
    if "unitlens" not in command[:4]:
        return
    step = command[command.index("unitlens") + 1]
    for request in folder.glob(f"{step}.*"):
        _, word, *kind = request.name.split(".")
        if not any(word in argument for argument in command):
            continue
        if kind == ["megabytes"]:
            taken.append(bytearray(int(request.read_text()) * 2**20))
        elif not kind:
            STOPS[step](request)


def look_often():
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    pause = property(lambda _: 2, lambda *_: None)
    RemoteExecutor.next_seconds_between_status_checks = pause


class Stop:
    """Stops at the first or a later call of :meth:`count`."""

    def __init__(self, request, calls=1):
        self._request, self._left = request, calls

    def count(self, *_):
        self._left -= 1
        if self._left > 0 or not self._request.exists():
            return
        self._request.unlink()
        stopped = self._request.with_name(f"{self._request.name}.stopped")
        partial = stopped.with_suffix(".partial")
        partial.write_text(job_number())
        partial.rename(stopped)
        go = self._request.with_name(f"{self._request.name}.go")
        while not go.exists():
            time.sleep(0.1)


def job_number():
    """Return the job's number; the number of an array's last job alone means the whole array."""
    array, task = map(os.environ.get, ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"))
    return f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]


def stop_training(request):
    from unitlens.training import resume_state

    # The pause between saves also grows with what a save takes.
    resume_state.SECONDS_BETWEEN_SAVES, resume_state.SAVING_SHARE = 0.0, 1e9
    after(resume_state.ResumeFolder, "save", Stop(request))


def stop_recording(request):
    from unitlens.recording.forward_passes import Recording

    # The first of the two splits is whole when the second begins.
    before(Recording, "fill", Stop(request, 2))


def stop_ablation(request):
    from unitlens.perturbation import summed_batches

    summed_batches.SECONDS_BETWEEN_SAVES, summed_batches.SAVING_SHARE = 0.0, 1e9
    after(summed_batches.SavedSums, "save", Stop(request))


def after(owner, name, stop):
    original = getattr(owner, name)

    def replaced(*arguments, **options):
        result = original(*arguments, **options)
        stop.count()
        return result

    setattr(owner, name, replaced)


def before(owner, name, stop):
    original = getattr(owner, name)

    def replaced(*arguments, **options):
        stop.count()
        return original(*arguments, **options)

    setattr(owner, name, replaced)


STOPS = {
    "train": stop_training,
    "record-activations": stop_recording,
    "unit-ablation": stop_ablation,
}
taken = []

if "UNITLENS_TEST_REQUESTS" in os.environ:
    install(Path(os.environ["UNITLENS_TEST_REQUESTS"]))
