"""Reading and checking of configurations from files, and of sections from command lines."""

import json
from pathlib import Path
from typing import Any

import yaml

from unitlens.config.base import Section, parse_at
from unitlens.config.experiments import Config
from unitlens.config.overrides import overridden
from unitlens.config.runs import expand_runs
from unitlens.errors import ConfigError, one_line


def parse_config(values: dict[str, Any]) -> Config:
    """Check the values of a configuration file.

    Parameters
    ----------
    values
        The content of the file, as plain dicts and lists.

    Returns
    -------
    The configuration. Where ``only`` is given, the configuration of those experiments alone.

    Raises
    ------
    ConfigError
        Where a key is unknown or a value breaks a rule. The message is one line: the first such
        key, its value, the rule and, for an unknown name, the nearest known names.
    """
    config = parse_at(Config, values)
    expand_runs(config)  # checks the swept values
    return config.narrowed()


def read_config(*paths: str | Path) -> Config:
    """Read and check a configuration from one or more files.

    Parameters
    ----------
    *paths
        YAML files. The keys of a file override those of the files before it, as those of
        Snakemake's ``--configfile`` do.

    Returns
    -------
    The configuration.

    Raises
    ------
    ConfigError
        As :func:`parse_config`; also where a file cannot be read, is not YAML, or is not a
        mapping.
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
        raise ConfigError(
            f"the configuration {path} must be a file of YAML, but cannot be read: {reason}"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"the configuration {path} must be a mapping of keys to values, but is "
            f"{type(values).__name__}"
        )
    return values


def parse_section(model: type[Section], text: str, more: str = "{}") -> Section:
    """Check one section of the configuration from the JSON on a command line.

    Parameters
    ----------
    model
        Class of the section.
    text
        JSON of the section's keys and values.
    more
        JSON of further keys and values.

    Raises
    ------
    ConfigError
        Where a text is not a JSON object, a key is unknown, or a value breaks a rule.
    """
    return parse_at(model, {**_parse_object(model, text), **_parse_object(model, more)})


def _parse_object(model: type[Section], text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{model.__name__} must be JSON, but {text!r} is not: {one_line(error)}"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{model.__name__} must be a JSON object of keys to values, not {text!r}")
    return values
