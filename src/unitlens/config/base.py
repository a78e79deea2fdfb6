"""What all sections of the configuration share: strictness, choices, refusal in one line."""

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from unitlens.errors import ConfigError, nearest


class Strict(BaseModel):
    """A frozen section of the configuration that knows all of its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse ``epochs: true``, which Python would take for 1."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (kind, *get_args(kind)):
            raise ValueError("must not be a truth value")
        return value


Split = Literal["train", "test"]
ValueName = Literal["zero", "mean", "position_mean", "class_mean", "resample"]
BasisName = Literal["units", "random", "principal_components"]
ClampValue = Annotated[
    ValueName,
    Field(description="what a unit is clamped to; means and other samples are of the training set"),
]
TopScore = Annotated[
    Literal["top1", "top5"],
    Field(description="accuracy: the label has the largest logit, or is among the five largest"),
]


class LastLayers(Strict):
    """The last so many layers of every network."""

    last: PositiveInt


LayerChoice = Annotated[
    tuple[str, ...] | LastLayers | None,
    Field(description="names of layers, {last: n} for the last n of each network, null for all"),
]


Section = TypeVar("Section", bound=BaseModel)


def parse_at(model: type[Section], values: Any, where: tuple[str, ...] = ()) -> Section:
    """Check `values` as a `model` that stands at the key `where` of the configuration."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_one_line(error, where, model)) from None


_TAGS = {"mlp", "convnet", "torchvision", "user", "LastLayers", "tuple[str, ...]", "one", "several"}


def _one_line(error: ValidationError, where: tuple[str, ...], model: type[BaseModel]) -> str:
    problems = error.errors(include_url=False)
    problem = problems[0]
    raised = problem.get("ctx", {}).get("error")
    if isinstance(raised, ConfigError):  # by a part that was checked alone, and knows its key
        return str(raised)
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
