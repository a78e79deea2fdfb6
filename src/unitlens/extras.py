"""Packages that the library itself does without, and the extra that brings each of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from unitlens.errors import MissingPackageError

# Name that is imported: name that pip knows, extra. A test holds the table against pyproject.toml.
EXTRAS = {
    "PIL": ("pillow", "workflow"),
    "altair": ("altair", "workflow"),
    "datashader": ("datashader", "explore"),
    "distributed": ("distributed", "distributed"),
    "h5netcdf": ("h5netcdf", "workflow"),
    "h5py": ("h5py", "workflow"),
    "holoviews": ("holoviews", "explore"),
    "jinja2": ("jinja2", "workflow"),
    "matplotlib": ("matplotlib", "workflow"),
    "mlxtend": ("mlxtend", "workflow"),
    "panel": ("panel", "explore"),
    "pyarrow": ("pyarrow", "workflow"),
    "pygments": ("pygments", "workflow"),
    "s3fs": ("s3fs", "remote"),
    "safetensors": ("safetensors", "workflow"),
    "sklearn": ("scikit-learn", "workflow"),
    "snakemake": ("snakemake", "workflow"),
    "torchvision": ("torchvision", "workflow"),
    "typer": ("typer", "workflow"),
    "upath": ("universal_pathlib", "remote"),
    "vl_convert": ("vl-convert-python", "workflow"),
    "yaml": ("pyyaml", "workflow"),
}


def require(package: str) -> None:
    """Refuse to go on without a package of an extra.

    Parameters
    ----------
    package
        Name by which the package is imported.

    Raises
    ------
    MissingPackageError
        Where the package is not installed.

    Examples
    --------
    >>> require("h5netcdf")
    """
    if find_spec(package) is None:
        raise MissingPackageError(_message(package))


@contextmanager
def naming_extras() -> Iterator[None]:
    """Tell the failed import of a package of an extra in one line.

    Raises
    ------
    MissingPackageError
        In place of a :class:`ModuleNotFoundError` for a package of an extra. Any other error is
        left as it is.

    Examples
    --------
    >>> with naming_extras():
    ...     raise ModuleNotFoundError("No module named 'altair'", name="altair")
    Traceback (most recent call last):
    ...
    unitlens.errors.MissingPackageError: this needs the package altair, which is not installed; ...
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingPackageError(_message(package)) from error


def _message(package: str) -> str:
    distribution, extra = EXTRAS[package]
    return (
        f"this needs the package {distribution}, which is not installed; "
        f"pip install 'unitlens[{extra}]' installs it"
    )
