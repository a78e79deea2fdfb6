"""``python -m unitlens``: the command line, with the interpreter of the environment."""

from unitlens.cli.main import main

main()
