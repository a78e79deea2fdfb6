"""Packages of extras that a plan needs, looked for before anything runs."""

from unitlens.errors import MissingPackageError
from unitlens.extras import EXTRAS, require
from unitlens.planning.plan import Plan


def check_packages(plan: Plan) -> None:
    """Check that the packages are installed that a plan needs beside those of the workflow.

    Parameters
    ----------
    plan
        The plan of a configuration.

    Raises
    ------
    MissingPackageError
        Where ``explorer`` is true and a package of the extra ``explore`` is not installed.
    """
    if not plan.config.explorer:
        return
    for package, (_, extra) in EXTRAS.items():
        if extra == "explore":
            try:
                require(package)
            except MissingPackageError as error:
                raise MissingPackageError(
                    f"explorer = true: {error}; explorer: false leaves the page out"
                ) from error
