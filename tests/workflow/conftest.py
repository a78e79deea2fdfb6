"""A finished run of the workflow, shared by the tests that ask it something."""

import pytest
from workflow_runs import snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return the directory of a workflow that has run to its end."""
    directory = tmp_path_factory.mktemp("workflow")
    done = snakemake(directory, "all")
    assert done.returncode == 0, done.stdout + done.stderr
    return directory
