"""The command line: one subcommand for each rule of the workflow, and a few for people."""

from unitlens.cli.main import main

__all__ = ["main"]
