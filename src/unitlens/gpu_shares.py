"""How many jobs share a GPU."""

import os

from unitlens.errors import ArgumentError

JOBS_PER_GPU = "UNITLENS_JOBS_PER_GPU"


def jobs_per_gpu() -> int:
    """Return the number of jobs that share a GPU.

    Raises
    ------
    ArgumentError
        Where UNITLENS_JOBS_PER_GPU is no whole number above 0.
    """
    text = os.environ.get(JOBS_PER_GPU, "1")
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentError(f"{JOBS_PER_GPU} is {text!r}, but must be a whole number, at least 1")
    return int(text)
