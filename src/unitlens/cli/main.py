"""The entry point: subcommands gathered, errors told in one line."""

import logging
import os
import sys
import traceback
from typing import NoReturn

import typer

from unitlens.cli import (
    analysis_commands,
    perturbation_commands,
    recording_commands,
    tool_commands,
    training_commands,
)
from unitlens.errors import UnitlensError

logger = logging.getLogger("unitlens")

app = typer.Typer(
    name="unitlens",
    help="What every unit of a trained network does, and how much the network needs it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ROOMS = (
    training_commands,
    recording_commands,
    analysis_commands,
    perturbation_commands,
    tool_commands,
)
for room in ROOMS:
    for command in room.COMMANDS:
        app.command()(command)


def main() -> NoReturn:
    """Run a subcommand; an error is one line on the terminal and a traceback in the log."""
    code = _run()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Taking torch down in order costs each job of a workflow half a second, and the system frees
    # all of it anyway. Every file is closed by now.
    os._exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except UnitlensError as error:
        _tell(f"unitlens: {error}")
        return 2
    except BrokenPipeError:
        # The reader of a pipe went away (unitlens layers resnet50 | head).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last place that can still say what happened
        line = str(error).partition("\n")[0]
        _tell(f"unitlens: unexpected {type(error).__name__}: {line}")
        if not _has_file():
            traceback.print_exc()
        return 1
    return 0


def _tell(line: str) -> None:
    if _has_file():
        logger.error("%s\n%s", line, traceback.format_exc())
    print(line, file=sys.stderr)  # noqa: T201 - the terminal is where a person looks


def _has_file() -> bool:
    return any(isinstance(handler, logging.FileHandler) for handler in logger.handlers)
