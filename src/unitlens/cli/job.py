"""What every subcommand that does work shares: its log, its threads, its account of time."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from unitlens.cli.gpu_lease import lease_gpu

logger = logging.getLogger("unitlens")

Log = Annotated[Path | None, typer.Option(help="File for progress and tracebacks.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads to compute with.")]
Settings = Annotated[str, typer.Option(help="Section of the configuration, as JSON.")]
Site = Annotated[
    str, typer.Option(help="Settings that change no number (workers, batch_size ...), as JSON.")
]
Code = Annotated[str, typer.Option(help="Digest of the code that does the work.")]
Gpu = Annotated[
    int, typer.Option(min=0, help="Number of GPUs that the job was given; 0: it uses the CPU.")
]
Gres = Annotated[
    str, typer.Option(help="What the job was given by Slurm's gres, such as gpu:1; like --gpu.")
]


def open_log(path: Path | None) -> None:
    """Send the log to a file, or to the terminal where none is named.

    A step of a job that has opened its log already writes to that log.
    """
    if path is None and logger.handlers:
        return
    handler: logging.Handler = logging.StreamHandler()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").addHandler(handler)


_worked_until = [0.0]  # processor time of this process at the end of the last work


@contextmanager
def work() -> Iterator[None]:
    """Account for the time of the work itself; what came before it is start-up."""
    before = time.process_time()
    start_up = before - _worked_until[0]
    start = time.monotonic()
    yield
    _worked_until[0] = time.process_time()
    logger.info(
        "work %.2f s, %.2f s of processor; start-up %.2f s of processor",
        time.monotonic() - start,
        _worked_until[0] - before,
        start_up,
    )


def set_threads(threads: int) -> None:
    """Let torch compute on some threads, at most as many as there are processors."""
    import torch

    torch.set_num_threads(min(threads, os.cpu_count() or threads))


def job_device(gpu: int, gres: str, threads: int) -> str:
    """Set the threads of torch, lease a GPU if the job was given one, and return the device.

    Parameters
    ----------
    gpu, gres
        What the job was given, as :data:`Gpu` and :data:`Gres` say.
    threads
        Number of threads.
    """
    has_gpu = gpu > 0 or gres.startswith("gpu")
    if has_gpu:
        lease_gpu()  # before torch, which looks for GPUs as it starts
    set_threads(threads)
    from unitlens.model.devices import checked_device

    return str(checked_device("cuda" if has_gpu else "cpu"))
