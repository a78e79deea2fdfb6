"""The whole configuration, read and refused in one line where it breaks a rule."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from unitlens.config.base import Strict
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec, ModelSpec, TrainingSpec
from unitlens.errors import ConfigError, nearest

FigureName = Literal[
    "memorisation_ablation",
    "memorisation_noise",
    "dropout_ablation",
    "batch_norm_ablation",
    "batch_norm_selectivity",
    "batch_norm_information",
    "selectivity_importance",
    "selectivity_l1_norm",
    "auc_test_accuracy",
    "auc_over_training",
    "selectivity_depth",
]
Section = TypeVar("Section", bound=BaseModel)
FIGURES: tuple[str, ...] = get_args(FigureName)
# What a figure cannot be drawn without, beside the measures, which are always there.
_NEEDED = {
    "memorisation_ablation": "cumulative_ablation",
    "memorisation_noise": "noise_robustness",
    "dropout_ablation": "cumulative_ablation",
    "batch_norm_ablation": "cumulative_ablation",
    "selectivity_importance": "unit_ablation",
    "auc_test_accuracy": "cumulative_ablation",
    "auc_over_training": "cumulative_ablation",
}


class ExperimentSpec(Strict):
    """A family of networks: what they share, what is swept over, and their seeds."""

    dataset: DatasetSpec
    model: ModelSpec
    training: TrainingSpec | None = None
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="dotted key to its values (dataset.corruption: [0, 1]); all combinations",
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one network for each")


class Config(Strict):
    """A whole configuration file."""

    results: str = Field("results", description="directory of everything that is made")
    data: str = Field("data", description="directory from which data sets are read")
    download: bool = Field(default=False, description="whether data sets may be downloaded")
    experiments: dict[str, ExperimentSpec] = Field(min_length=1)
    measurements: MeasurementSpec = MeasurementSpec()
    figures: dict[FigureName, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="figure to the experiments it shows"
    )

    @model_validator(mode="after")
    def _figures_of_experiments(self) -> "Config":
        for figure, names in self.figures.items():
            for name in names:
                if name not in self.experiments:
                    raise ValueError(
                        f"figures.{figure} names the experiment '{name}', which does not exist; "
                        f"{nearest(name, self.experiments)}"
                    )
        return self

    @model_validator(mode="after")
    def _figures_of_measurements(self) -> "Config":
        for figure in self.figures:
            needed = _NEEDED.get(figure)
            if needed is None:
                continue
            settings = getattr(self.measurements, needed)
            if settings is None:
                raise ValueError(
                    f"figures.{figure} needs measurements.{needed}, which is null; measure it, or "
                    "leave the figure out"
                )
            if figure == "auc_over_training" and not settings.checkpoints:
                raise ValueError(
                    f"figures.{figure} needs measurements.{needed}.checkpoints: true, so that the "
                    "epochs are measured that training.checkpoints keeps"
                )
        return self


def parse_config(values: dict[str, Any]) -> Config:
    """Check the values of a configuration file.

    Parameters
    ----------
    values
        What the file holds, as plain dicts and lists.

    Returns
    -------
    The configuration.

    Raises
    ------
    ConfigError
        In one line that names the first offending key, its value, the rule and, where a name is
        unknown, the nearest one.
    """
    from unitlens.config.runs import expand_runs

    config = parse_at(Config, values)
    expand_runs(config)  # the swept values must hold as well
    return config


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
        values = _overridden(values, _read_mapping(path))
    return parse_config(values)


def _read_mapping(path: str | Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the configuration {path} must be a mapping of keys to values")
    return values


def _overridden(values: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    result = dict(values)
    for key, value in by.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _overridden(old, value)
        result[key] = value
    return result


def parse_section(model: type[Section], text: str) -> Section:
    """Check one section that comes as JSON on a command line."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{model.__name__} must be JSON, but {text!r} is not: {error}") from error
    return parse_at(model, values)


def parse_at(model: type[Section], values: Any, where: tuple[str, ...] = ()) -> Section:
    """Check `values` as a `model` that stands at the key `where` of the configuration."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_one_line(error, where, model)) from None


_TAGS = {"mlp", "convnet", "torchvision", "user", "LastLayers", "tuple[str, ...]"}


def _one_line(error: ValidationError, where: tuple[str, ...], model: type[BaseModel]) -> str:
    problems = error.errors(include_url=False)
    problem = problems[0]
    path = [*where, *(str(part) for part in problem["loc"] if str(part) not in _TAGS)]
    key = ".".join(part for part in path if part != "[key]") or "the configuration"
    rule = _rule(problem, model)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if problem["type"] == "missing":
        return f"{key} is missing: {rule}{more}"
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a key of the configuration: {rule}{more}"
    value = problem["input"]
    shown = f" = {value!r}" if not isinstance(value, dict | BaseModel) else ""
    return f"{key}{shown}: {rule}{more}"


def _rule(problem: Any, model: type[BaseModel]) -> str:
    if problem["type"] == "extra_forbidden":
        *parents, key = problem["loc"]
        return nearest(str(key), _keys_at(model, parents))
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "literal_error":
        wanted = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"must be one of {', '.join(wanted)}; {nearest(str(problem['input']), wanted)}"
    return text[0].lower() + text[1:]


def _keys_at(model: type[BaseModel], parents: list[Any]) -> list[str]:
    """Return the keys that the section at `parents` knows, found in the JSON schema."""
    schema = model.model_json_schema()
    here: list[dict[str, Any]] = [schema]
    for part in parents:
        here = [after for node in here for after in _step(schema, node, str(part))]
    known: dict[str, None] = {}
    for node in here:
        known.update(dict.fromkeys(node.get("properties", {})))
    return list(known)


def _step(schema: dict[str, Any], node: dict[str, Any], part: str) -> list[dict[str, Any]]:
    if part in _TAGS:
        kind = {"mlp": "MLPSpec", "convnet": "ConvNetSpec"}.get(part, part.title() + "Spec")
        kind = "UserModelSpec" if part == "user" else kind
        return [schema["$defs"][kind]] if kind in schema["$defs"] else [node]
    after = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
    return _resolve(schema, after) if isinstance(after, dict) else []


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return [schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]]
    choices = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
    if choices:
        return [found for choice in choices for found in _resolve(schema, choice)]
    return [node]
