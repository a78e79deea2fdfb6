"""Whatever ends a command is told in one line that is safe for a terminal."""

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unitlens.cli import main as main_module
from unitlens.cli.job import open_log
from unitlens.errors import ConfigError, HeldStoreError, UsedUpMemoryError
from unitlens.workflow.failed_jobs import NOT_TRIED_AGAIN

SOURCE = Path(__file__).parents[3] / "src"
CONFIG = """\
experiments:
  e:
    dataset: {name: digits}
    model: {name: NAME}
    training: {epochs: 1}
"""


def run(arguments, directory, **environment):
    """Run the command line in a directory, and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "unitlens", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture
def told(monkeypatch, capsys):
    """Return a function that ends the command line by an error, and returns status and line."""

    def end_by(error):
        def app():
            raise error

        monkeypatch.setattr(main_module, "app", app)
        code = main_module._run()
        line, *more = capsys.readouterr().err.splitlines()
        return code, line, more

    return end_by


@pytest.mark.parametrize(
    ("error", "code", "parts"),
    [
        (ConfigError("a = 1: must be 2"), 2, ["unitlens: a = 1: must be 2"]),
        (
            OSError(errno.ENOSPC, "x", "results/a.nc"),
            1,
            ["unitlens: results/a.nc cannot be read or written: No space left", "free space there"],
        ),
        (OSError(errno.EROFS, "x", b"a.nc"), 1, ["a.nc cannot", "name a directory that can be"]),
        (PermissionError(errno.EACCES, "x", "a.nc"), 1, ["a.nc cannot", "give yourself the right"]),
        (OSError(errno.ENOSPC, "no name"), 1, ["unitlens: a file cannot be read or written"]),
        (
            MemoryError("4 GiB"),
            1,
            ["unitlens: too little memory (4 GiB); give the job more (mem_mb"],
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory\nmore"),
            1,
            ["too little memory", "lower measurements.activations.batch_size"],
        ),
        (KeyboardInterrupt(), 130, ["unitlens: interrupted; run the same command again"]),
    ],
)
def test_run__tells_an_error_with_its_remedy_in_one_line(told, error, code, parts):
    got, line, more = told(error)

    assert got == code
    assert all(part in line for part in parts)
    assert more == []


def test_run__shows_a_traceback_only_of_what_nobody_expected(told):
    code, line, more = told(ZeroDivisionError("by \x1b[2J"))

    assert code == 1
    assert line == "unitlens: unexpected ZeroDivisionError: by \\x1b[2J"
    assert more[0].startswith("Traceback")


def test_run__escapes_what_a_terminal_would_obey(told):
    _, line, _ = told(ConfigError("a\x1b]0;x\x07b\u202ec\nd\x9be größe"))

    assert line == "unitlens: a\\x1b]0;x\\x07b\\u202ec\\x0ad\\x9be größe"


def test_run__escapes_in_the_log_too(told, tmp_path, monkeypatch):
    log = tmp_path / "job.log"
    monkeypatch.setattr(main_module.logger, "handlers", [])
    open_log(log)

    told(ConfigError("a\x1b[2J"))

    logging.captureWarnings(capture=False)
    assert "unitlens: a\\x1b[2J" in log.read_text()
    assert "Traceback" in log.read_text()
    assert "\x1b" not in log.read_text()


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConfigError("a = 1: must be 2"), False),
        (UsedUpMemoryError("too little memory"), True),
        (HeldStoreError("the store x is being written by process 1 on node1"), True),
        (OSError(errno.ENOSPC, "x", "results/a.nc"), True),
        (RuntimeError("?"), True),
    ],
)
def test_run__ends_the_log_with_whether_another_try_is_vain(
    told, tmp_path, monkeypatch, error, again
):
    log = tmp_path / "job.log"
    monkeypatch.setattr(main_module.logger, "handlers", [])
    open_log(log)

    told(error)

    logging.captureWarnings(capture=False)
    assert log.read_text().splitlines()[-1].endswith(NOT_TRIED_AGAIN) != again


def test_validate__is_safe_for_a_terminal_and_in_any_locale(tmp_path):
    for name in ('"\\e[2J"', "größe", '"a\\nb"'):
        (tmp_path / "config.yaml").write_text(CONFIG.replace("NAME", name))
        done = run(["validate"], tmp_path, PYTHONIOENCODING="ascii")

        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("unitlens: experiments.e.model.name")
        assert line.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["validate", "estimate"])
def test_command__runs_no_code_of_the_configuration_unless_asked(tmp_path, command):
    (tmp_path / "config.yaml").write_text(CONFIG.replace("NAME", "'mine:build'"))
    (tmp_path / "mine.py").write_text(
        "import pathlib\n"
        "pathlib.Path('ran').touch()\n"
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 10))\n"
    )

    asked_not = run([command], tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    asked = run([command, "--run-code"], tmp_path)

    assert asked_not.returncode == 0, asked_not.stderr
    assert "not checked without --run-code: experiments.e.model\n" in asked_not.stdout
    assert before == ["config.yaml", "mine.py"]
    assert asked.returncode == 0, asked.stderr
    assert "not checked" not in asked.stdout
    assert (tmp_path / "ran").exists()


def test_layers__refuses_functions_of_the_standard_library(tmp_path):
    done = run(["layers", "os:mkdir", "--arguments", '{"path": "made"}'], tmp_path)

    assert done.returncode == 2
    assert "the module 'os' is Python's or unitlens's own" in done.stderr
    assert not (tmp_path / "made").exists()


def test_print__to_a_full_disk_is_one_line(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "unitlens", "schema"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "No space left on device; free space there" in line


@pytest.mark.slow
def test_import__does_without_a_home_that_can_be_written(tmp_path):
    program = """
import numpy as np, xarray as xr
import unitlens as ul
import unitlens.plot.style, matplotlib.pyplot
from unitlens.compilation import compiled

@compiled()
def twice(x):
    return 2 * x

assert twice(3) == 6
"""
    script = tmp_path / "program.py"
    script.write_text(program)
    nowhere = "/dev/null/home"
    done = subprocess.run(
        [sys.executable, str(script)],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL", "NUMBA"))},
            "PYTHONPATH": str(SOURCE),
            "HOME": nowhere,
            "NUMBA_CACHE_DIR": nowhere,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
