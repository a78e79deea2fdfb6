"""Reading and checking of configurations from files, and of sections from command lines."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unitlens.config.base import Section, parse_at
from unitlens.config.experiments import Config
from unitlens.config.overrides import overridden
from unitlens.config.runs import Run, expand_runs
from unitlens.config.yaml_files import read_yaml
from unitlens.errors import ConfigError, one_line, printable, shown

NAME_BYTES = 200  # of a run: file systems take 255, and suffixes are added


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
    for run in expand_runs(config).values():  # checks the swept values
        _check_name(run)
    return config.narrowed()


def _check_name(run: Run) -> None:
    """Refuse a run whose files cannot be named."""
    size = len(run.name.encode())
    if size > NAME_BYTES:
        raise ConfigError(
            f"experiments.{run.experiments[0]} has the network {shown(run.name)}, whose name has "
            f"{size} bytes, but a name of files may have {NAME_BYTES}; shorten dataset.name, "
            "model.name or the seed"
        )


def check_config_files(paths: Iterable[str | Path]) -> None:
    """Check the text of configuration files that something else has read.

    Parameters
    ----------
    paths
        Files of YAML or JSON.

    Raises
    ------
    ConfigError
        As :func:`read_config`, for what the values do not show any more: a key that stands twice,
        numbers and words that YAML takes for something else.
    """
    for path in paths:
        _read_mapping(path)


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
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(
            f"the configuration {printable(str(path))} must be a mapping of keys to values, but is "
            f"{type(values).__name__}; write keys such as experiments: at its left edge"
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
            f"{model.__name__} must be JSON, but {shown(text)} is not: {one_line(error)}"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{model.__name__} must be a JSON object of keys to values, not {shown(text)}"
        )
    return values
