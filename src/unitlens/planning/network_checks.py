"""Checks of a plan against the networks themselves, before anything runs.

They need torch, and some torchvision, so each is made only where the configuration asks for
something that only the network can answer.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from unitlens.config.networks import ConvNetSpec, MLPSpec
from unitlens.config.runs import Run
from unitlens.errors import ConfigError, LayerError, UnitlensError
from unitlens.planning.plan import Plan

if TYPE_CHECKING:
    from unitlens.model.layers import UnitLayers

LAYERED = ("activations", "unit_ablation", "cumulative_ablation")


def check_networks(plan: Plan) -> None:
    """Refuse what the networks of a plan cannot do.

    Parameters
    ----------
    plan
        The plan of a configuration.

    Raises
    ------
    ConfigError
        Where a model is not one of torchvision's, a user's function cannot be imported, a weights
        file is missing, or a named layer does not exist; the message names the key.
    """
    for run in _with_distinct_models(plan):
        _check_weights(run)
        if not isinstance(run.spec.model, MLPSpec | ConvNetSpec) or _named_layers(plan, run):
            _check_model(plan, run)


def _with_distinct_models(plan: Plan) -> Iterable[Run]:
    """Return one run for each data set, model and way of measuring: others do not matter."""
    distinct: dict[tuple[str, str, str], Run] = {}
    for run in plan.runs.values():
        model, measured = run.spec.model.model_dump_json(), run.measurements.model_dump_json()
        distinct.setdefault((run.spec.dataset.name, model, measured), run)
    return distinct.values()


def _named_layers(plan: Plan, run: Run) -> dict[str, tuple[str, ...]]:
    """Map each key of a run's measurements that names layers to the names."""
    named = {}
    for section in LAYERED:
        choice = getattr(getattr(run.measurements, section), "layers", None)
        if isinstance(choice, tuple):
            named[f"{_section(plan, run, section)}.layers"] = choice
    maps = run.measurements.activations.maps
    if maps is not None and isinstance(maps.layers, tuple):
        named[f"{_section(plan, run, 'activations')}.maps.layers"] = maps.layers
    return named


def _section(plan: Plan, run: Run, section: str) -> str:
    """Return the key of the section that a run is measured by."""
    for name in run.experiments:
        if section in plan.config.experiments[name].measurements:
            return f"experiments.{name}.measurements.{section}"
    return f"measurements.{section}"


def _key(run: Run) -> str:
    return f"experiments.{run.experiments[0]}.model"


def _check_weights(run: Run) -> None:
    weights = getattr(run.spec.model, "weights", None)
    if weights is None or weights.startswith("torchvision:") or Path(weights).is_file():
        return
    raise ConfigError(
        f"{_key(run)}.weights = {weights!r}: must be an existing file or torchvision:NAME; "
        "paths are read from the directory in which the workflow runs"
    )


def _check_model(plan: Plan, run: Run) -> None:
    try:
        layers = describe_layers(run, Path(plan.config.data))
        for key, names in _named_layers(plan, run).items():
            _check_layers(key, names, layers, run)
        _check_maps(plan, layers, run)
    except ConfigError:
        raise
    except UnitlensError as error:
        text = str(error).removeprefix("model.")
        key = f"{_key(run)}." if text != str(error) else f"{_key(run)}: "
        raise ConfigError(key + text) from error


def _check_layers(key: str, names: tuple[str, ...], layers: "UnitLayers", run: Run) -> None:
    from unitlens.model.layers import choose_layers

    try:
        choose_layers(layers, names)
    except LayerError as error:
        raise ConfigError(f"{key} (for {run.spec.model.name}): {error}") from error


def _check_maps(plan: Plan, layers: "UnitLayers", run: Run) -> None:
    settings = run.measurements.activations
    if settings.maps is None:
        return
    from unitlens.model.layers import choose_layers
    from unitlens.recording.maps import choose_map_layers

    try:
        choose_map_layers(settings.maps, choose_layers(layers, settings.layers))
    except LayerError as error:
        where = f"{_section(plan, run, 'activations')} (for {run.spec.model.name})"
        raise ConfigError(f"{where}: {error}") from error


def describe_layers(run: Run, data: Path) -> "UnitLayers":
    """Build the untrained network of a run and return its layers."""
    import torch

    from unitlens.data.describe import describe_dataset
    from unitlens.model.network import unit_layers
    from unitlens.training.models import construct_model

    facts = describe_dataset(run.spec.dataset, data=data)
    model = construct_model(
        run.spec.model, input_shape=facts.input_shape, classes=facts.classes, seed=0
    )
    return unit_layers(model, torch.zeros(2, *facts.input_shape))
