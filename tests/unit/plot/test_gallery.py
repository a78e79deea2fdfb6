"""The gallery is what its script writes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_gallery__is_written_again_with_a_picture_of_each_plot(tmp_path):
    import unitlens.plot

    script = [sys.executable, "-W", "error", str(ROOT / "docs/make_gallery.py")]
    done = subprocess.run(
        [*script, "--out", str(tmp_path), "--epochs", "5"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    page = (tmp_path / "gallery.md").read_text()
    assert page == (ROOT / "docs/gallery.md").read_text()
    for name in unitlens.plot.__all__:
        picture = f"pictures/gallery_{name}.svg"
        assert picture in page
        assert (tmp_path / picture).read_text().startswith("<?xml")
        assert (ROOT / "docs" / picture).exists()
