"""A dask cluster of worker processes on this machine, for tests."""

import os
from contextlib import contextmanager
from pathlib import Path

from distributed import LocalCluster


@contextmanager
def local_cluster():
    """Start two workers, in another directory than that of the tests."""
    here = Path.cwd()
    os.chdir("/")
    try:
        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # without a dashboard there is a page of its health, on all interfaces if not told so
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        )
    finally:
        os.chdir(here)
    with cluster:
        yield cluster
