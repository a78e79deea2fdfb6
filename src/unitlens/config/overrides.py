"""The measurement settings of an experiment, and of a network that several experiments share."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from unitlens.config.base import parse_at
from unitlens.config.measurements import MeasurementSpec
from unitlens.errors import ConfigError, shown


def overridden(values: dict[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with the values of `by` in place of their own.

    Examples
    --------
    >>> overridden({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 5}})
    {'a': {'b': 5, 'c': 2}, 'd': 3}
    """
    result = dict(values)
    for key, value in by.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = overridden(old, value)
        result[key] = value
    return result


def experiment_settings(
    measurements: MeasurementSpec, override: Mapping[str, Any], experiment: str
) -> MeasurementSpec:
    """Return the measurement settings of an experiment.

    Parameters
    ----------
    measurements
        Settings of all experiments.
    override
        Values of the keys that the experiment sets itself.
    experiment
        Name of the experiment, for error messages.

    Raises
    ------
    ConfigError
        Where a key is unknown or the settings break a rule.
    """
    if not override:
        return measurements
    values = overridden(measurements.model_dump(mode="json"), override)
    return parse_at(MeasurementSpec, values, ("experiments", experiment, "measurements"))


def shared_settings(settings: Mapping[str, MeasurementSpec], run: str) -> MeasurementSpec:
    """Return the measurement settings of a run that several experiments use.

    Parameters
    ----------
    settings
        Experiment to its measurement settings.
    run
        Name of the run, for error messages.

    Returns
    -------
    The settings. Each section is that of the experiments that use the section. A section measures
    the kept epochs if it does so in any experiment.

    Raises
    ------
    ConfigError
        Where two experiments use a section with different settings; the message names both.
    """
    first = next(iter(settings.values()))
    if all(other == first for other in settings.values()):
        return first
    sections = {}
    for section in MeasurementSpec.model_fields:
        specs = {
            name: getattr(measurements, section)
            for name, measurements in settings.items()
            if measurements.uses(section)
        }
        sections[section] = _agreed(specs, section, run) if specs else getattr(first, section)
    return MeasurementSpec.model_validate(sections)


def _agreed(specs: Mapping[str, BaseModel], section: str, run: str) -> BaseModel:
    """Return the settings on which all experiments that use a section agree."""
    (first, agreed), *others = specs.items()
    for other, spec in others:
        for key in type(agreed).model_fields:
            value, other_value = getattr(agreed, key), getattr(spec, key)
            if value != other_value and key != "checkpoints":
                raise ConfigError(
                    f"experiments.{first} and experiments.{other} share the network {run}, but "
                    f"measurements.{section}.{key} is {_shown(value)} for one and "
                    f"{_shown(other_value)} for the other; give both the same value, or set "
                    f"{section} to null for one of them"
                )
    if not hasattr(agreed, "checkpoints"):
        return agreed
    kept = any(getattr(spec, "checkpoints", False) for spec in specs.values())
    return agreed.model_copy(update={"checkpoints": kept})


def _shown(value: object) -> str:
    return shown(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)
