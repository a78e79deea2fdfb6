"""Slurm on this machine, begun for the tests that ask for it."""

import os

import one_node_slurm
import pytest


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Begin Slurm, and end it after the tests."""
    reason = one_node_slurm.missing()
    try:
        import snakemake_executor_plugin_slurm  # noqa: F401
    except ImportError:
        reason = (
            "the executor for Slurm is not installed; pip install 'unitlens[slurm]' installs it"
        )
    if reason and os.environ.get("UNITLENS_REQUIRE_SLURM"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm") / "node"
    one_node_slurm.start(folder)
    yield folder
    one_node_slurm.stop(folder)
