"""The combinations of the swept values and seeds of an experiment, without the excluded ones."""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from unitlens.config.experiments import ExperimentSpec
from unitlens.errors import ConfigError, cut, nearest, printable, shown

SWEPT_SECTIONS = ("dataset", "model", "training")
MOST_NETWORKS = 100_000  # of an experiment
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # a number that YAML takes for a text


def combine_values(experiment: str, family: ExperimentSpec) -> list[dict[str, Any]]:
    """Return the values of each run of an experiment.

    Parameters
    ----------
    experiment
        Name of the experiment, for error messages.
    family
        The experiment.

    Returns
    -------
    The values of data set, model, training and seed. The seed changes fastest, then the last
    swept key.

    Raises
    ------
    ConfigError
        Where a swept key does not exist, an entry of ``exclude`` names a key that is not swept or
        takes out nothing, a value stands twice, or nothing is left.
    """
    if "seed" in family.sweep:
        raise ConfigError(
            f"experiments.{experiment}.sweep names the key 'seed'; list the seeds in `seeds`"
        )
    axes = {**family.sweep, "seed": family.seeds}
    _refuse_repeated(experiment, axes)
    count = math.prod(map(len, axes.values()))
    if count > MOST_NETWORKS:
        raise ConfigError(
            f"experiments.{experiment}.sweep and seeds name {shown(count)} networks, but an "
            f"experiment may have {MOST_NETWORKS}; sweep over fewer keys or values"
        )
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    kept = _without_excluded(experiment, family.exclude, points)
    base = family.model_dump(mode="json", include=set(SWEPT_SECTIONS), exclude_unset=True)
    return [_set_point(base, point, experiment) for point in kept]


def _refuse_repeated(experiment: str, axes: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a list that names a value twice, which would give one network in silence."""
    for key, values in axes.items():
        seen = set()
        for value in values:
            if (same := _hashable(_comparable(value))) in seen:
                where = "seeds" if key == "seed" else f"sweep.{cut(printable(key))}"
                raise ConfigError(
                    f"experiments.{experiment}.{where} = {shown(list(values))}: {shown(value)} "
                    "stands there twice, but gives one network; remove or change one of them"
                )
            seen.add(same)


def refuse_same_networks(
    experiment: str, sweep: Mapping[str, Any], first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    """Raise ConfigError for two combinations of values that give one network.

    Parameters
    ----------
    experiment, sweep
        Name of the experiment, and its swept keys.
    first, second
        The values of the two combinations, from :func:`combine_values`.
    """
    for key in sweep:
        pair = [_value_at(values, key.split(".")) for values in (first, second)]
        if pair[0] != pair[1] or type(pair[0]) is not type(pair[1]):
            raise ConfigError(
                f"experiments.{experiment}.sweep.{cut(printable(key))}: {shown(pair[0])} and "
                f"{shown(pair[1])} give one network; remove or change one of them"
            )


def _value_at(values: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _without_excluded(
    experiment: str, entries: Sequence[Mapping[str, Any]], points: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the points that no entry of ``exclude`` matches."""
    left = points
    for number, entry in enumerate(entries):
        where = f"experiments.{experiment}.exclude.{number}"
        unknown = [key for key in entry if key not in points[0]]
        if unknown:
            raise ConfigError(
                f"{where} names the key {shown(unknown[0])}, which the experiment does not sweep; "
                f"{nearest(unknown[0], points[0])}"
            )
        if not any(_matches(point, entry) for point in points):
            raise ConfigError(
                f"{where} = {shown(dict(entry))}: takes out no network; write each value as in the "
                "sweep, or remove the entry"
            )
        left = [point for point in left if not _matches(point, entry)]
    if not left:
        raise ConfigError(
            f"experiments.{experiment}.exclude takes out all {len(points)} networks; remove an "
            "entry, or the experiment"
        )
    return left


def _matches(point: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return all(_comparable(point[key]) == _comparable(value) for key, value in entry.items())


def _comparable(value: Any) -> Any:
    """Return a value so that equal settings are equal: 1e-3 is a text to YAML, true is not 1.

    Other texts are texts: "01" is neither "1" nor 1.
    """
    if isinstance(value, bool):
        return ("truth value", value)
    if isinstance(value, str):
        return float(value) if _EXPONENT.fullmatch(value) else value
    if isinstance(value, list | tuple):
        return [_comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    return value


def _set_point(base: dict[str, Any], point: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """Return the values of an experiment with those of a point in place of their own."""
    values: dict[str, Any] = json.loads(json.dumps(base))
    for key, value in point.items():
        if key == "seed":
            values[key] = value
        else:
            _set_key(values, key, value, experiment)
    return values


def _set_key(values: dict[str, Any], key: str, value: Any, experiment: str) -> None:
    """Set the value of a dotted key in nested values."""
    named = cut(printable(key))
    section, _, rest = key.partition(".")
    if section not in SWEPT_SECTIONS or values.get(section) is None:
        known = [name for name in SWEPT_SECTIONS if values.get(name) is not None]
        raise ConfigError(
            f"experiments.{experiment}.sweep names the key '{named}', which must begin with a "
            f"section of the experiment; {nearest(section, known)}"
        )
    if not rest:
        values[section] = value
        return
    *parents, last = key.split(".")
    parent = values
    for part in parents:
        parent = parent.setdefault(part, {})
        if not isinstance(parent, dict):
            end = cut(printable(part))
            raise ConfigError(
                f"experiments.{experiment}.sweep names the key '{named}', but '{end}' is a value "
                f"({shown(parent)}) without keys; end the key at '{end}'"
            )
    parent[last] = value
