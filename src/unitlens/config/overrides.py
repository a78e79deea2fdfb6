"""How a network is measured: settings that an experiment overrides, and that several share."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from unitlens.config.base import parse_at
from unitlens.config.measurements import MeasurementSpec
from unitlens.errors import ConfigError


def overridden(values: dict[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values, those keys replaced that `by` names."""
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
    """Return the settings of an experiment: the global ones, but for the keys that it names.

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
    """Return the settings of a run that several experiments use.

    Parameters
    ----------
    settings
        Experiment to its settings.
    run
        Name of the run.

    Returns
    -------
    Each section as those experiments have it that use it. As the kept epochs of a run are those
    of all its experiments, they are measured where any one measures them.

    Raises
    ------
    ConfigError
        Where two experiments use a section with different settings; it names both.
    """
    first = next(iter(settings.values()))
    if all(other == first for other in settings.values()):
        return first
    sections = {}
    for section in MeasurementSpec.model_fields:
        using = {name: of for name, of in settings.items() if of.uses(section)}
        chosen = {name: getattr(of, section) for name, of in using.items()}
        sections[section] = _agreed(chosen, section, run) if chosen else getattr(first, section)
    return MeasurementSpec.model_validate(sections)


def _agreed(sections: Mapping[str, BaseModel], section: str, run: str) -> BaseModel:
    (first, agreed), *others = sections.items()
    for other, spec in others:
        for key in type(agreed).model_fields:
            one, two = getattr(agreed, key), getattr(spec, key)
            if one != two and key != "checkpoints":
                raise ConfigError(
                    f"experiments.{first} and experiments.{other} share the network {run}, but "
                    f"measurements.{section}.{key} is {_shown(one)} for one and {_shown(two)} for "
                    f"the other; give both the same, or set {section} to null for one of them"
                )
    if not hasattr(agreed, "checkpoints"):
        return agreed
    kept = any(getattr(spec, "checkpoints", False) for spec in sections.values())
    return agreed.model_copy(update={"checkpoints": kept})


def _shown(value: object) -> str:
    return repr(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)
