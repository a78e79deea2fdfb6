"""A GPU for one job: of those that the machine shows, one that no other job of it uses.

Snakemake counts the GPUs that jobs take, but tells no job which one is its own. So a job locks a
file for its GPU in a folder of the machine, before PyTorch starts. The lock ends with the process,
however it ends.
"""

import logging
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unitlens.errors import ArgumentError
from unitlens.gpu_shares import jobs_per_gpu

logger = logging.getLogger("unitlens")

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SECONDS_BETWEEN_TRIES, _SECONDS_BETWEEN_LINES = 0.5, 60.0
_LISTED = re.compile(r"^(?P<indent>\s*)\S.*\(UUID: (?P<name>[\w/-]+)\)")
_leases: list[int] = []  # descriptors of the files that this process has locked


def lease_gpu(folder: Path | None = None) -> str:
    """Wait for a GPU that no other job uses, and let this process see no other one.

    The GPUs are those of CUDA_VISIBLE_DEVICES, or all that ``nvidia-smi -L`` lists, where a GPU
    that is divided (MIG) counts as its instances. UNITLENS_JOBS_PER_GPU jobs share a GPU, 1 unless
    it is set. A second call of the same process returns the same GPU.

    Parameters
    ----------
    folder
        Folder of the lock files; one for all users of the machine if None.

    Returns
    -------
    Name of the GPU, as CUDA_VISIBLE_DEVICES now says.

    Raises
    ------
    ArgumentError
        Where there is no GPU, or UNITLENS_JOBS_PER_GPU is no whole number above 0.
    """
    if _leases:
        return os.environ[VISIBLE]
    gpus, places = visible_gpus(), jobs_per_gpu()
    folder = Path(tempfile.gettempdir()) / "unitlens-gpus" if folder is None else folder
    with _for_all_users():
        folder.mkdir(mode=0o1777, exist_ok=True)
    told = time.monotonic()
    while True:
        for place in range(places):
            for gpu in gpus:
                lease = _lock(folder / f"{_name(gpu)}-{place}")
                if lease is not None:
                    _leases.append(lease)
                    os.environ[VISIBLE] = gpu
                    logger.info("GPU %s, place %d of %d", gpu, place + 1, places)
                    return gpu
        if time.monotonic() - told > _SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            logger.warning("waiting for a GPU: %s are in use by other jobs", ", ".join(gpus))
        time.sleep(_SECONDS_BETWEEN_TRIES)


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use.

    Raises
    ------
    ArgumentError
        Where there is none.
    """
    stated = os.environ.get(VISIBLE)
    if stated is None:
        gpus, why = _listed_gpus(), "nvidia-smi -L lists no GPU here"
    else:
        gpus, why = [name.strip() for name in stated.split(",")], f"{VISIBLE} is {stated!r}"
        first_hidden = next((n for n, name in enumerate(gpus) if name in ("", "-1")), len(gpus))
        gpus = gpus[:first_hidden]  # CUDA shows those before the first wrong name
    if not gpus:
        raise ArgumentError(
            f"the job was given a GPU, but {why}; leave gpu out of the resources of its rule, or "
            "run it where there is one"
        )
    return gpus


def _listed_gpus() -> list[str]:
    """Return the names of all GPUs, and of the instances of those that are divided."""
    try:
        done = subprocess.run(
            ("nvidia-smi", "-L"),  # noqa: S607  where it lies is the driver's matter
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    gpus: list[list[str]] = []
    for found in filter(None, map(_LISTED.match, done.stdout.splitlines())):
        if found["indent"] and gpus:
            gpus[-1].append(found["name"])
        else:
            gpus.append([found["name"]])
    return [name for gpu in gpus for name in (gpu[1:] or gpu)]


def _name(gpu: str) -> str:
    """Return the name of the files of a GPU. Numbers may be those of one job of Slurm alone."""
    job = os.environ.get("SLURM_JOB_ID", "") if gpu.isdecimal() else ""
    return f"{job}-{gpu}".replace("/", "_")


def _lock(path: Path) -> int | None:
    """Lock a file, and return its descriptor; None where another process has locked it."""
    import fcntl  # only Unix has it

    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _open(path: Path) -> int:
    """Open a file that all users share; it is made if there is none.

    In a folder that all users may write to, Linux lets nobody open a file of another user in a way
    that could make it.
    """
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR)
        with suppress(FileExistsError), _for_all_users():
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


@contextmanager
def _for_all_users() -> Iterator[None]:
    """Make files and folders with the very mode that is asked for: all users share them."""
    mask = os.umask(0)
    try:
        yield
    finally:
        os.umask(mask)
