"""Expansion of experiments into runs; identities and names of runs, networks and data sets."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from unitlens.config.base import parse_at
from unitlens.config.experiments import Config
from unitlens.config.looks import look_folder
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec, ModelSpec, RunSpec
from unitlens.config.overrides import shared_settings
from unitlens.config.sweeps import combine_values, refuse_same_networks
from unitlens.config.swept_marks import file_name_part, swept_marks
from unitlens.errors import ConfigError

DIGITS = 12  # hexadecimal, at the end of the names of runs and of data sets
FORMER_DIGITS = 6  # of unitlens before 0.3: the first of the twelve


@dataclass(frozen=True)
class Run:
    """One trained network of a configuration.

    Attributes
    ----------
    name
        Name of the run.
    spec
        Data set, model, training and seed.
    experiments
        Names of the experiments that use the run.
    measurements
        Measurement settings.
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
    Name of each run to the run, in the order of experiments, sweeps (the last key changes
    fastest) and seeds. A network that several experiments use is one run, with the kept epochs
    and the measurements of all these experiments.

    Raises
    ------
    ConfigError
        Where a swept key does not exist, a swept value breaks a rule, or two experiments measure
        one network with different settings.
    """
    settings = {name: config.measurements_of(name) for name in config.experiments}
    runs: dict[str, Run] = {}  # by identity
    for experiment, family in config.experiments.items():
        own: dict[str, dict[str, Any]] = {}
        for values in combine_values(experiment, family):
            spec = parse_at(RunSpec, values, ("experiments", experiment))
            same = own.setdefault(spec.model_dump_json(), values)
            if same is not values:
                refuse_same_networks(experiment, family.sweep, same, values)
            name, identity = run_name(spec, family.sweep), run_identity(spec)
            run = Run(name, spec, (experiment,), settings[experiment])
            runs[identity] = _joined(runs[identity], run) if identity in runs else run
    return {run.name: _measured(run, settings) for run in runs.values()}


def _joined(old: Run, new: Run) -> Run:
    """Return a run with the experiments and kept epochs of both.

    Raises
    ------
    ConfigError
        Where the two runs have one name but are not one network.
    """
    if _identity_values(old.spec) != _identity_values(new.spec):
        raise ConfigError(
            f"experiments.{new.experiments[0]} and experiments.{old.experiments[0]} have two "
            f"networks of one name, {old.name}; change a seed or a value of one of them"
        )
    experiments = tuple(dict.fromkeys((*old.experiments, *new.experiments)))
    return replace(old, spec=_with_epochs_of(old.spec, new.spec), experiments=experiments)


def _measured(run: Run, settings: Mapping[str, MeasurementSpec]) -> Run:
    """Return a run with the measurement settings of all its experiments."""
    own = {name: settings[name] for name in run.experiments}
    return replace(run, measurements=shared_settings(own, run.name))


def _with_epochs_of(spec: RunSpec, other: RunSpec) -> RunSpec:
    if spec.training is None or other.training is None:
        return spec
    epochs = sorted({*spec.training.checkpoints, *other.training.checkpoints})
    training = spec.training.model_copy(update={"checkpoints": tuple(epochs)})
    return spec.model_copy(update={"training": training})


def run_identity(spec: RunSpec) -> str:
    """Return the identity of a run: twelve digits of all that determines its weights."""
    return _digest(_identity_values(spec))


def _identity_values(spec: RunSpec) -> dict[str, Any]:
    """Return the values of a specification that determine the weights.

    The files that a user's data set reads are none: their content counts, not their paths.
    """
    excluded: Any = {"training": {"checkpoints"}, "dataset": {"files"}}
    return spec.model_dump(mode="json", exclude=excluded)


def run_name(spec: RunSpec, sweep: Iterable[str] = ()) -> str:
    """Return the readable name of a run, with the identity at its end.

    Parameters
    ----------
    spec
        The specification of the run.
    sweep
        The swept keys of the experiment, whose values the name shows.

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
    >>> run_name(spec, ["training.epochs"]).rsplit("-", 1)[0]
    'mnist-mlp-corrupt0.5-epochs3-seed1'
    """
    parts = [file_name_part(spec.dataset.name), file_name_part(spec.model.name)]
    if spec.dataset.corruption:
        parts.append(f"corrupt{spec.dataset.corruption:g}")
    parts += _marks(spec.model)
    if spec.training and spec.training.selectivity_regulariser:
        parts.append(f"alpha{spec.training.selectivity_regulariser:g}")
    parts += swept_marks(spec, sweep)
    return "-".join([*parts, f"seed{spec.seed}", run_identity(spec)])


def _marks(model: ModelSpec) -> list[str]:
    marks = []
    if getattr(model, "dropout", 0):
        marks.append(f"dropout{getattr(model, 'dropout', 0):g}")
    if getattr(model, "batch_norm", False):
        marks.append("bn")
    return marks


def former_name(name: str) -> str:
    """Return the name that unitlens before 0.3 gave to a run or to a prepared data set.

    Examples
    --------
    >>> former_name("mnist-mlp-seed1-3fa9c1d0e52b")
    'mnist-mlp-seed1-3fa9c1'
    """
    return name[: FORMER_DIGITS - DIGITS]


def network_name(run: str, epoch: float | None = None) -> str:
    """Return the name of a network of a run: at the end of training, or after a kept epoch.

    Examples
    --------
    >>> network_name("mnist-mlp-seed1-3fa9c1d0e52b")
    'mnist-mlp-seed1-3fa9c1d0e52b'
    >>> network_name("mnist-mlp-seed1-3fa9c1d0e52b", 5)
    'mnist-mlp-seed1-3fa9c1d0e52b/epoch-0005'
    """
    return run if epoch is None else f"{run}/{look_folder(epoch)}"


def run_of_network(network: str) -> str:
    """Return the name of the run of a network.

    Examples
    --------
    >>> run_of_network("mnist-mlp-seed1-3fa9c1d0e52b/epoch-0005")
    'mnist-mlp-seed1-3fa9c1d0e52b'
    """
    return network.partition("/")[0]


def is_kept_epoch(network: str) -> bool:
    """Tell whether a network is that of a kept epoch, by its name.

    Examples
    --------
    >>> is_kept_epoch("mnist-mlp-seed1-3fa9c1d0e52b/epoch-0005")
    True
    """
    return "/" in network


def dataset_name(spec: DatasetSpec) -> str:
    """Return the name of a prepared data set. Label corruption does not change the name."""
    values = spec.model_dump(mode="json", exclude={"corruption", "files"})
    return f"{file_name_part(spec.name)}-{_digest(values)}"


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
