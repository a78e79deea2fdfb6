"""A prepared data set, and a guard against training."""

import pytest

from small_trainings import run_spec
from unitlens.data.prepare import prepare_dataset
from unitlens.training import train as train_module


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """Return the directory of the prepared data set digits."""
    directory = tmp_path_factory.mktemp("digits-to-train")
    prepare_dataset(run_spec().dataset, directory, data=directory)
    return directory


@pytest.fixture
def untrainable(monkeypatch):
    """Return a function after whose call training fails, so that a success has trained nothing."""

    def refuse(*_, **__):
        pytest.fail("trained again")

    return lambda: monkeypatch.setattr(train_module, "run_epoch", refuse)
