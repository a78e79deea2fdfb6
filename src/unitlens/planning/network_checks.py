"""Checks of a plan against the networks themselves, before anything runs.

A network is built, with torch, only where the configuration names its layers or a network that
unitlens does not define itself. A configuration names functions of its author: these are run on
demand only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from unitlens.config.base import DeclaredLayer
from unitlens.config.measurements import PERTURBATIONS
from unitlens.config.networks import MODEL_FAMILIES
from unitlens.config.runs import Run
from unitlens.errors import ArgumentError, ConfigError, LayerError, UnitlensError, shown
from unitlens.planning.look_checks import check_looks
from unitlens.planning.plan import Plan, settings_key
from unitlens.user_code import find_problem

if TYPE_CHECKING:
    from unitlens.model.network import UnitNetwork

NamedLayers = tuple[str | DeclaredLayer, ...]
SECTIONS_WITH_LAYERS = ("activations", *PERTURBATIONS)


def check_networks(plan: Plan, *, run_code: bool = False) -> tuple[str, ...]:
    """Check that the networks of a plan can be built and have the layers that the plan names.

    Parameters
    ----------
    plan
        The plan of a configuration.
    run_code
        Whether the user's functions are called. If not, their modules are found and read, but not
        imported.

    Returns
    -------
    The keys of the configuration whose networks or data sets were not built, because this runs
    the user's code, or because this environment has no torch.

    Raises
    ------
    ConfigError
        Where torchvision has no such model, a user's function cannot be found or imported, a
        weights file is missing, a named layer does not exist, or kept epochs fall on one batch. The
        message names the key.
    """
    check_looks(plan)
    unchecked: dict[str, None] = {}
    for run in _with_distinct_models(plan):
        functions = dict(_user_functions(run))
        for key, name in functions.items():
            problem = find_problem(name)
            if problem:
                raise ConfigError(f"{key}.name = {shown(name)}: {problem}")
        _check_weights(run)
        if functions and not run_code:
            unchecked |= dict.fromkeys(functions)
        elif run.spec.model.name not in MODEL_FAMILIES or _named_layers(plan, run):
            if networks_can_be_built():
                _check_model(plan, run)
            else:
                unchecked[_model_key(run)] = None
    return tuple(unchecked)


def networks_can_be_built() -> bool:
    """Tell whether this environment has torch. That of Snakemake alone may be without it."""
    return find_spec("torch") is not None


def without_user_code(plan: Plan) -> Plan:
    """Return the plan of those networks that are built and fed without the user's code.

    Parameters
    ----------
    plan
        The plan of a configuration.
    """
    runs = {name: run for name, run in plan.runs.items() if not dict(_user_functions(run))}
    return replace(plan, runs=runs)


def user_functions(plan: Plan) -> tuple[str, ...]:
    """Return the user's functions that a plan names, as module:function.

    Parameters
    ----------
    plan
        The plan of a configuration.
    """
    return tuple({name: None for run in plan.runs.values() for _, name in _user_functions(run)})


def _user_functions(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the key of each section of a run that names a module:function, with the name."""
    for section, name in (("dataset", run.spec.dataset.name), ("model", run.spec.model.name)):
        if ":" in name:
            yield f"experiments.{run.experiments[0]}.{section}", name


def _with_distinct_models(plan: Plan) -> Iterable[Run]:
    """Return the first run of each data set, model and measurement settings."""
    distinct: dict[tuple[str, ...], Run] = {}
    for run in plan.runs.values():
        distinct.setdefault(settings_key(run), run)
    return distinct.values()


def _named_layers(plan: Plan, run: Run) -> dict[str, NamedLayers]:
    """Return each key of a run's measurements that names layers, with the names."""
    named: dict[str, NamedLayers] = {}
    for section in SECTIONS_WITH_LAYERS:
        choice = getattr(getattr(run.measurements, section), "layers", None)
        if isinstance(choice, tuple):
            named[f"{section_key(plan, run, section)}.layers"] = choice
    maps = run.measurements.activations.maps
    if maps is not None and isinstance(maps.layers, tuple):
        named[f"{section_key(plan, run, 'activations')}.maps.layers"] = maps.layers
    return named


def section_key(plan: Plan, run: Run, section: str) -> str:
    """Return the key of a run's section of measurements: of an experiment, or of all.

    Parameters
    ----------
    plan
        The plan of a configuration.
    run
        A run of the plan.
    section
        Name of the section.
    """
    for name in run.experiments:
        if section in plan.config.experiments[name].measurements:
            return f"experiments.{name}.measurements.{section}"
    return f"measurements.{section}"


def _model_key(run: Run) -> str:
    return f"experiments.{run.experiments[0]}.model"


def _check_weights(run: Run) -> None:
    weights = getattr(run.spec.model, "weights", None)
    if weights is None or weights.startswith("torchvision:") or Path(weights).is_file():
        return
    raise ConfigError(
        f"{_model_key(run)}.weights = {shown(weights)}: must be an existing file or "
        "torchvision:NAME; a path is relative to the directory in which the workflow runs"
    )


def _check_model(plan: Plan, run: Run) -> None:
    try:
        with open_untrained(run, Path(plan.config.data)) as network:
            for key, names in _named_layers(plan, run).items():
                _check_layers(key, names, network, run)
            _check_recorded(plan, network, run)
            _check_maps(plan, network, run)
    except ConfigError:
        raise
    except UnitlensError as error:
        text = str(error).removeprefix("model.")  # of messages that name a key of the section
        separator = "." if text != str(error) else ": "
        raise ConfigError(f"{_model_key(run)}{separator}{text}") from error


def _check_layers(key: str, names: NamedLayers, network: "UnitNetwork", run: Run) -> None:
    try:
        network.choose(names)
    except (LayerError, ArgumentError) as error:
        raise ConfigError(f"{key} (for {run.spec.model.name}): {error}") from error


def _check_recorded(plan: Plan, network: "UnitNetwork", run: Run) -> None:
    """Check that the units of which a perturbation needs measures are recorded."""
    recorded = network.choose(run.measurements.activations.layers)
    for name in PERTURBATIONS:
        section = getattr(run.measurements, name)
        if section is None or not section.needs_measures:
            continue
        missing = [layer.name for layer in network.choose(section.layers) if layer not in recorded]
        if missing:
            raise ConfigError(
                f"{section_key(plan, run, name)}.layers (for {run.spec.model.name}): layer "
                f"'{missing[0]}' is not recorded, but {name} needs the measures of its units; name "
                f"it in {section_key(plan, run, 'activations')}.layers"
            )


def _check_maps(plan: Plan, network: "UnitNetwork", run: Run) -> None:
    settings = run.measurements.activations
    if settings.maps is None:
        return
    from unitlens.recording.maps import choose_map_layers

    try:
        choose_map_layers(settings.maps, network.choose(settings.layers))
    except LayerError as error:
        where = f"{section_key(plan, run, 'activations')} (for {run.spec.model.name})"
        raise ConfigError(f"{where}: {error}") from error


def open_untrained(run: Run, data: Path) -> "UnitNetwork":
    """Build the untrained network of a run, ready to be opened.

    Parameters
    ----------
    run
        The run. Seed and label corruption do not matter.
    data
        Directory from which data sets are read.
    """
    import torch

    from unitlens.model.network import UnitNetwork
    from unitlens.planning.described_networks import construct_untrained

    model, dataset = construct_untrained(run, data)
    return UnitNetwork(model, torch.zeros(2, *dataset.input_shape))
