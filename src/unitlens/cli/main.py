"""The entry point: subcommands gathered, errors told in one line."""

import errno
import logging
import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

import typer

from unitlens.cli import (
    analysis_commands,
    explorer_commands,
    network_commands,
    perturbation_commands,
    recording_commands,
    tool_commands,
    training_commands,
    workflow_commands,
)
from unitlens.cli.located_stores import (
    merged_at_location,
    part_at_location,
    recorded_at_location,
)
from unitlens.cli.terminal import printable_lines, say
from unitlens.errors import (
    HeldStoreError,
    UnitlensError,
    UsedUpMemoryError,
    first_line,
    printable,
)
from unitlens.extras import naming_extras
from unitlens.memory_errors import lacks_memory
from unitlens.workflow.failed_jobs import NOT_TRIED_AGAIN

INTERRUPTED = 130  # exit status after Ctrl-C
_REMEDIES = {
    errno.ENOSPC: "free space there, or name a directory of another disk",
    errno.EDQUOT: "free space there, or name a directory of another disk",
    errno.EIO: "see to the disk, or name a directory of another disk",
    errno.EROFS: "name a directory that can be written (results in the configuration)",
    errno.EACCES: "give yourself the right to it, or name a directory of your own",
    errno.EPERM: "give yourself the right to it, or name a directory of your own",
}

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
    network_commands,
    tool_commands,
    workflow_commands,
    explorer_commands,
)
# Subcommands that record stores, which may lie elsewhere.
LOCATED = {
    recording_commands.record_activations: recorded_at_location,
    recording_commands.record_part: part_at_location,
    recording_commands.merge_activations: merged_at_location,
}
for room in ROOMS:
    for command in room.COMMANDS:
        located = LOCATED.get(command)
        app.command()(located(command) if located else command)


def main() -> NoReturn:
    """Run a subcommand; an error is one line on the terminal and a traceback in the log."""
    code = _run()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # has been told where it was printed
            stream.flush()
    # Taking torch down in order costs each job of a workflow half a second, and the system frees
    # all of it anyway. Every file is closed by now.
    os._exit(code)


def _run() -> int:
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character gets its escape
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with naming_extras():
            app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _tell("interrupted; run the same command again to go on")
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        _tell("interrupted; run the same command again to go on")
        return INTERRUPTED
    except UnitlensError as error:
        _tell(str(error), is_lasting=not isinstance(error, UsedUpMemoryError | HeldStoreError))
        return 2
    except BrokenPipeError:
        # The reader of a pipe went away (unitlens layers resnet50 | head).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last place that can still say what happened
        line = _cause_outside(error)
        _tell(line or f"unexpected {type(error).__name__}: {first_line(error)}")
        if not line and not _has_file():
            traceback.print_exc()
        return 1
    return 0


def _cause_outside(error: Exception) -> str:
    """Tell an error that lies in the machine, with its remedy; nothing for any other error."""
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        named = error.filename
        file = os.fsdecode(named) if isinstance(named, str | bytes) else "a file"
        reason, remedy = os.strerror(error.errno), _REMEDIES[error.errno]
        return f"{file} cannot be read or written: {reason}; {remedy}, and run the command again"
    if lacks_memory(error):
        return (
            f"too little memory ({first_line(error)}); give the job more (mem_mb of its rule on a "
            "cluster, fewer jobs at a time on one machine) or, where activations are recorded, "
            "lower measurements.activations.batch_size"
        )
    return ""


def _tell(message: str, *, is_lasting: bool = False) -> None:
    line = printable(f"unitlens: {message}")
    if _has_file():
        end = f"\n{NOT_TRIED_AGAIN}" if is_lasting else ""
        logger.error("%s\n%s%s", line, printable_lines(traceback.format_exc()).rstrip(), end)
    say(line, to_errors=True)


def _has_file() -> bool:
    return any(isinstance(handler, logging.FileHandler) for handler in logger.handlers)
