"""What all tests share."""

import os
import subprocess
import sys
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
