"""``unitlens`` and ``python -m unitlens``: the command line, where its packages are installed."""

import sys
from typing import NoReturn

from unitlens.errors import MissingPackageError
from unitlens.extras import naming_extras


def main() -> NoReturn:
    """Run a subcommand."""
    try:
        with naming_extras():
            from unitlens.cli.main import main as run
    except MissingPackageError as error:
        sys.exit(f"unitlens: {error}")
    run()


if __name__ == "__main__":
    main()
