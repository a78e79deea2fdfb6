"""Expansion of experiments into runs, and the identity of a run."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from unitlens.config.base import parse_at
from unitlens.config.experiments import Config, ExperimentSpec
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec, ModelSpec, RunSpec
from unitlens.config.overrides import shared_settings
from unitlens.errors import ConfigError, nearest

SWEPT_SECTIONS = ("dataset", "model", "training")


@dataclass(frozen=True)
class Run:
    """One network of a configuration.

    Attributes
    ----------
    name
        Its name.
    spec
        What it is.
    experiments
        Those that use it.
    measurements
        How it is measured.
    """

    name: str
    spec: RunSpec
    experiments: tuple[str, ...]
    measurements: MeasurementSpec


def expand_runs(config: Config) -> dict[str, Run]:
    """Expand the experiments of a configuration into runs.

    Parameters
    ----------
    config
        The configuration.

    Returns
    -------
    Name of each run to the run, in the order of the experiments, their sweeps (the last key
    changes fastest) and seeds. A network that several experiments need stands there once; the
    epochs that they want kept are joined, and so are the sections that they measure.

    Raises
    ------
    ConfigError
        Where a swept key does not exist or one of its values breaks a rule, or two experiments
        want one network measured in different ways.
    """
    settings = {name: config.measurements_of(name) for name in config.experiments}
    runs: dict[str, Run] = {}
    for experiment, family in config.experiments.items():
        for values in _points(experiment, family):
            for seed in family.seeds:
                spec = parse_at(RunSpec, {**values, "seed": seed}, ("experiments", experiment))
                name = run_name(spec)
                run = Run(name, spec, (experiment,), settings[experiment])
                runs[name] = _joined(runs[name], run) if name in runs else run
    return {name: _measured(run, settings) for name, run in runs.items()}


def _points(experiment: str, family: ExperimentSpec) -> list[dict[str, Any]]:
    base = family.model_dump(mode="json", include=set(SWEPT_SECTIONS), exclude_unset=True)
    points = []
    for combination in itertools.product(*family.sweep.values()):
        values = json.loads(json.dumps(base))
        for key, value in zip(family.sweep, combination, strict=True):
            _set(values, key, value, experiment)
        points.append(values)
    return points


def _set(values: dict[str, Any], key: str, value: Any, experiment: str) -> None:
    section, _, rest = key.partition(".")
    if section not in SWEPT_SECTIONS or values.get(section) is None:
        known = [name for name in SWEPT_SECTIONS if values.get(name) is not None]
        raise ConfigError(
            f"experiments.{experiment}.sweep names the key '{key}', which must begin with a "
            f"section that the experiment has; {nearest(section, known)}"
        )
    if not rest:
        values[section] = value
        return
    *parents, last = key.split(".")
    place = values
    for part in parents:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ConfigError(
                f"experiments.{experiment}.sweep names the key '{key}', but '{part}' is a value "
                f"({place!r}) with no keys in it; end the key there"
            )
    place[last] = value


def _joined(old: Run, new: Run) -> Run:
    experiments = tuple(dict.fromkeys((*old.experiments, *new.experiments)))
    return replace(old, spec=_with_epochs_of(old.spec, new.spec), experiments=experiments)


def _measured(run: Run, settings: Mapping[str, MeasurementSpec]) -> Run:
    own = {name: settings[name] for name in run.experiments}
    return replace(run, measurements=shared_settings(own, run.name))


def _with_epochs_of(spec: RunSpec, other: RunSpec) -> RunSpec:
    if spec.training is None or other.training is None:
        return spec
    epochs = sorted({*spec.training.checkpoints, *other.training.checkpoints})
    training = spec.training.model_copy(update={"checkpoints": tuple(epochs)})
    return spec.model_copy(update={"training": training})


def run_identity(spec: RunSpec) -> str:
    """Return six hexadecimal digits over all that determines the weights of a run."""
    values = spec.model_dump(mode="json", exclude={"training": {"checkpoints"}})
    return _digest(values)


def run_name(spec: RunSpec) -> str:
    """Return the readable name of a run, which ends in its identity.

    Examples
    --------
    >>> spec = RunSpec.model_validate(
    ...     {
    ...         "dataset": {"name": "mnist", "corruption": 0.5},
    ...         "model": {"name": "mlp"},
    ...         "training": {"epochs": 3},
    ...         "seed": 1,
    ...     }
    ... )
    >>> run_name(spec).rsplit("-", 1)[0]
    'mnist-mlp-corrupt0.5-seed1'
    """
    parts = [_plain(spec.dataset.name), _plain(spec.model.name)]
    if spec.dataset.corruption:
        parts.append(f"corrupt{spec.dataset.corruption:g}")
    parts += _marks(spec.model)
    if spec.training and spec.training.selectivity_regulariser:
        parts.append(f"alpha{spec.training.selectivity_regulariser:g}")
    return "-".join([*parts, f"seed{spec.seed}", run_identity(spec)])


def _marks(model: ModelSpec) -> list[str]:
    marks = []
    if getattr(model, "dropout", 0):
        marks.append(f"dropout{getattr(model, 'dropout', 0):g}")
    if getattr(model, "batch_norm", False):
        marks.append("bn")
    return marks


def dataset_name(spec: DatasetSpec) -> str:
    """Return the name of a prepared data set; label corruption is no part of it."""
    values = spec.model_dump(mode="json", exclude={"corruption"})
    return f"{_plain(spec.name)}-{_digest(values)}"


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "." for c in name)


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:6]
