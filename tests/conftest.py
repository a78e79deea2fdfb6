"""What all tests share."""

import gc
import logging
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("eager_passes")

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

# Tests compute small things: more threads than one only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "default",
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items):
    """Begin with the files of slow tests, so that no process of several is left with one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open():
    """Collect what the tests of a file left, so that a file left open is an error of theirs."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def real_data(tmp_path_factory):
    """Return the folder with real MNIST, CIFAR-10 and Imagenette in torchvision's layout."""
    unpack = SHARED_DATA / "unpack.py"
    if not unpack.is_file():
        missing = f"the real image data is not on this machine ({unpack.relative_to(ROOT.parent)})"
        if os.environ.get("UNITLENS_REQUIRE_REAL_DATA"):
            pytest.fail(missing)
        pytest.skip(missing)
    root = tmp_path_factory.mktemp("data")
    command = [sys.executable, str(unpack), str(root), "mnist", "cifar10", "imagenet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return root


@pytest.fixture(scope="session")
def s3_server():
    """Return the address of an S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch, _numbers=count()):  # noqa: B008  one count for all
    """Return the URL of a new bucket, which this process and those it starts can reach."""
    import fsspec

    access = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}
    for name, value in {**access, "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket{next(_numbers)}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}"
