"""A process that has everything imported, and forks a child for each command of unitlens.

To start Python and to import torch takes seconds, a fork takes milliseconds. The server computes
nothing itself, so that a child is as fresh as a new process; but what a child had to import, the
server imports too, so that the next child has it.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
PRELOADED = (
    "faults.injection",
    "faults.readers",
    "unitlens.cli.main",
    "unitlens.training.train",
    "torch._dynamo",
    "xarray",
    "zarr",
    "sklearn.datasets",
    "numba",
    "pyarrow.parquet",
    "matplotlib.figure",
    "altair",
    "vl_convert",
)
HUNG = -1


@dataclass(frozen=True)
class Done:
    """What a child has left.

    Attributes
    ----------
    status
        Its exit status; :data:`HUNG` where it was ended for it took too long.
    text
        What it wrote to the terminal.
    counts
        Operations on files by their kinds.
    fired
        Whether the fault took place.
    value
        What the called function returned.
    """

    status: int
    text: str
    counts: dict
    fired: bool
    value: object = None


class ForkServer:
    """The server, as the tests see it."""

    def __enter__(self):
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()

    def run(self, directory, arguments, *, fault=None, timeout=300):
        """Run a subcommand of unitlens in a directory.

        Parameters
        ----------
        directory
            Directory to run in; operations on files under its folder ``results`` count.
        arguments
            The subcommand and its arguments.
        fault
            The fault, where there is one.
        timeout
            Seconds after which the command is ended.
        """
        return self._ask(directory, fault, timeout, arguments=list(arguments))

    def call(self, directory, function, *arguments, timeout=300):
        """Call a function, named as ``module:function``, with plain values."""
        return self._ask(directory, None, timeout, function=function, arguments=list(arguments))

    def _ask(self, directory, fault, timeout, **request):
        request |= {"directory": str(directory), "timeout": timeout}
        request["fault"] = str(fault) if fault else None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Done(**json.loads(self._process.stdout.readline()))


def serve(requests, replies):
    """Answer requests, a line each, until there are no more."""
    known = set()
    _import_all(PRELOADED, known)
    with tempfile.TemporaryDirectory(prefix="unitlens-faults-") as kept:
        _keep_script(Path(kept) / "script.js")
        for line in requests:
            reply, new = _answer(json.loads(line))
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
            _import_all(new, known)


def _keep_script(place):
    """Let the first child that makes the script of the page, which takes a second, keep it."""
    import vl_convert

    make = vl_convert.javascript_bundle

    def kept_script():
        if not place.exists():
            partial = place.with_suffix(".new")
            partial.write_text(make())
            partial.replace(place)
        return place.read_text()

    vl_convert.javascript_bundle = kept_script


def _answer(request):
    """Return the reply to a request, and the modules that its child had to import."""
    with tempfile.TemporaryDirectory(prefix="unitlens-faults-") as folder:
        reply = _run_child(request, Path(folder))
        imported = Path(folder) / "imported.json"
        return reply, json.loads(imported.read_text()) if imported.exists() else []


def _import_all(names, known):
    for name in names:
        if name not in known:
            known.add(name)
            with contextlib.suppress(Exception):  # made at run time, or of another system
                importlib.import_module(name)
    gc.freeze()  # a child that looked for garbage among all this would copy the memory of it


def _run_child(request, folder):
    child = os.fork()
    if not child:
        _be_child(request, folder)
    deadline = time.monotonic() + request["timeout"]
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = None
            break
        time.sleep(0.002)
    report = {"counts": {}, "fired": False}
    if (folder / "report.json").exists():
        report = json.loads((folder / "report.json").read_text())
    value = folder / "value.json"
    return {
        **report,
        "status": HUNG if status is None else os.waitstatus_to_exitcode(status),
        "text": (folder / "text").read_text(errors="replace"),
        "value": json.loads(value.read_text()) if value.exists() else None,
    }


def _be_child(request, folder):
    before = set(sys.modules)
    end = os._exit

    def tell_imports(status):
        new = [name for name in sys.modules if name not in before]
        (folder / "imported.json").write_text(json.dumps(new))
        end(status)

    os._exit = tell_imports
    try:
        terminal = os.open(folder / "text", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(terminal, 1)
        os.dup2(terminal, 2)
        os.chdir(request["directory"])
        if "function" in request:
            module, _, name = request["function"].partition(":")
            value = getattr(importlib.import_module(module), name)(*request["arguments"])
            (folder / "value.json").write_text(json.dumps(value))
            os._exit(0)
        from faults.injection import Fault, Layer

        fault = Fault.parse(request["fault"]) if request["fault"] else None
        Layer(Path("results"), fault, folder / "report.json").install()
        sys.argv = ["unitlens", *request["arguments"]]
        from unitlens.cli.main import main

        main()
    except BaseException:  # noqa: BLE001 - the child must not go on as the server
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    serve(sys.stdin, replies)
