"""Configurations read from files and command lines, checked, and refused in one line."""

import json
from pathlib import Path
from typing import Any

import yaml

from unitlens.config.base import Section, parse_at
from unitlens.config.experiments import Config
from unitlens.config.overrides import overridden
from unitlens.config.runs import expand_runs
from unitlens.errors import ConfigError


def parse_config(values: dict[str, Any]) -> Config:
    """Check the values of a configuration file.

    Parameters
    ----------
    values
        What the file holds, as plain dicts and lists.

    Returns
    -------
    The configuration, of the experiments in ``only`` where that is given.

    Raises
    ------
    ConfigError
        In one line that names the first offending key, its value, the rule and, where a name is
        unknown, the nearest one.
    """
    config = parse_at(Config, values)
    expand_runs(config)  # the swept values must hold as well
    return config.narrowed()


def read_config(*paths: str | Path) -> Config:
    """Read and check a configuration file, or one and the files that override it.

    Parameters
    ----------
    *paths
        YAML files. Each overrides the keys of those before it that it names, as Snakemake's
        ``--configfile`` does.

    Returns
    -------
    The configuration.

    Raises
    ------
    ConfigError
        As :func:`parse_config`; also where a file is not YAML or not a mapping.
    """
    values: dict[str, Any] = {}
    for path in paths:
        values = overridden(values, _read_mapping(path))
    return parse_config(values)


def _read_mapping(path: str | Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the configuration {path} must be a mapping of keys to values")
    return values


def parse_section(model: type[Section], text: str) -> Section:
    """Check one section that comes as JSON on a command line."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{model.__name__} must be JSON, but {text!r} is not: {error}") from error
    return parse_at(model, values)
