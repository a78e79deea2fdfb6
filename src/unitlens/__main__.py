"""``python -m unitlens``: the command line, with the interpreter of the environment."""

from unitlens.cli import main

main()
