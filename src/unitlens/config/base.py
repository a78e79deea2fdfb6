"""The base of all sections of the configuration: strict keys, shared types, one-line errors."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from unitlens.catalogue.values import BASES, VALUES
from unitlens.errors import LINE, ConfigError, cut, nearest, printable, shown

Section = TypeVar("Section", bound=BaseModel)
Value = TypeVar("Value", bound=Hashable)


def refuse_bool(value: Any) -> Any:
    """Return a value of the configuration that is no truth value.

    Raises
    ------
    ValueError
        Where it is one.
    """
    if isinstance(value, bool):
        raise ValueError(  # noqa: TRY004  (pydantic makes a line of it)
            "must not be a truth value; write a number, or a word such as no in quotes"
        )
    return value


class Strict(BaseModel):
    """A frozen section of the configuration that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # Keys that came with a later version: left out where they are null, so that names of runs and
    # results of before stay.
    later_keys: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unset_later_keys(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        return {k: v for k, v in values.items() if v is not None or k not in self.later_keys}

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse ``epochs: true``, which Python would take for 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        takes_bool = bool in (annotation, *get_args(annotation))
        return value if takes_bool else refuse_bool(value)


class FunctionSettings(Strict):
    """A section whose keys are keyword arguments of one function of the library.

    A key that only the workflow needs stands in `workflow_keys` and is no argument. A key that
    changes no result, but how or where it is computed, stands in `site_keys`.
    """

    workflow_keys: ClassVar[frozenset[str]] = frozenset()
    site_keys: ClassVar[frozenset[str]] = frozenset()

    def arguments(self) -> dict[str, Any]:
        """Return the section as keyword arguments of its library function.

        Examples
        --------
        >>> from unitlens.config.measurements import PrincipalComponentsSpec
        >>> PrincipalComponentsSpec(components=3, split="test").arguments()
        {'components': 3}
        """
        keys = type(self).model_fields
        return {key: getattr(self, key) for key in keys if key not in self.workflow_keys}

    def content(self) -> dict[str, Any]:
        """Return the settings that determine a result, as plain values.

        Examples
        --------
        >>> from unitlens.config.measurements import PrincipalComponentsSpec
        >>> PrincipalComponentsSpec(components=3, checkpoints=True).content()
        {'split': 'train', 'components': 3}
        """
        return self.model_dump(mode="json", exclude={"checkpoints", *self.site_keys})

    def site(self) -> dict[str, Any]:
        """Return the settings that say how or where a result is computed, as plain values."""
        return self.model_dump(mode="json", include=set(self.site_keys))


Split = Literal["train", "test"]
if TYPE_CHECKING:
    ValueName = str
    BasisName = str
else:
    ValueName = Literal[*VALUES]
    BasisName = Literal[*BASES]
ClampValue = Annotated[
    ValueName,
    Field(
        description="value to which ablated units are clamped; means and other samples are of the "
        "training set"
    ),
]
TopScore = Annotated[
    Literal["top1", "top5"],
    Field(
        description="accuracy: share of samples whose label has the largest logit (top1), or one "
        "of the five largest (top5)"
    ),
]


class LastLayers(Strict):
    """The last layers of every network."""

    last: PositiveInt = Field(description="number of layers")


class DeclaredLayer(Strict):
    """The output of a module or graph node whose channels are units."""

    name: str = Field(
        description="name or pattern; * stands for any characters but dots, ** for any",
        min_length=1,
    )
    axis: int | None = Field(
        None, description="axis of the units in (samples, ...); null: as the operation says"
    )
    heads: PositiveInt | None = Field(
        None, description="number of units that the axis is split into; null: one unit an entry"
    )


LayerEntry = Annotated[
    Annotated[str, Tag("name")] | Annotated[DeclaredLayer, Tag("declared")],
    Discriminator(lambda entry: "name" if isinstance(entry, str) else "declared"),
]
LayerChoice = Annotated[
    Annotated[tuple[LayerEntry, ...], Tag("names")] | LastLayers | None,
    Field(
        description="names or patterns of layers, modules or graph nodes, also as {name, axis, "
        "heads}; {last: n}: the last n of each network; null: all"
    ),
]


def named_entries(layers: Iterable[str | DeclaredLayer]) -> list[str]:
    """Return the names and patterns of a choice of layers.

    Examples
    --------
    >>> named_entries(("relu1", DeclaredLayer(name="blocks.*", axis=-1)))
    ['relu1', 'blocks.*']
    """
    return [layer if isinstance(layer, str) else layer.name for layer in layers]


def unnamed(
    wanted: Iterable[str | DeclaredLayer], layers: Iterable[str | DeclaredLayer]
) -> list[str]:
    """Return the names of a choice that another one lacks; none where that one has patterns.

    Examples
    --------
    >>> unnamed(("relu1", "relu2"), ("relu1",))
    ['relu2']
    """
    names = named_entries(layers)
    if any("*" in name for name in names):
        return []
    return [name for name in named_entries(wanted) if name not in names]


_NUMBER_OR_AUTO = Discriminator(lambda value: "word" if value == "auto" else "number")
MemoryLimit = Annotated[
    Annotated[PositiveFloat, Tag("number")] | Annotated[Literal["auto"], Tag("word")],
    _NUMBER_OR_AUTO,
    Field(
        description="gigabytes for activations and copies of weights, beside the model and the "
        "data set; `auto`: 2 on a CPU, on a GPU 60 % of what is free; it changes no more than "
        "last digits"
    ),
]
LoadingProcesses = Annotated[
    NonNegativeInt,
    Field(
        description="processes that read the items of a data set ahead, for image files and slow "
        "data sets; results do not change"
    ),
]
JobParts = Annotated[
    Annotated[PositiveInt, Tag("number")] | Annotated[Literal["auto"], Tag("word")],
    _NUMBER_OR_AUTO,
    Field(
        description="number of jobs that share a network, each with a part of the units, orders or "
        "draws, at most as many as there are orders or draws; auto: jobs of about ten minutes by "
        "the estimate, or of twice what every job repeats, and one job for a network or data set "
        "of your own function; results do not change"
    ),
]
KeptEpochs = Annotated[bool, Field(description="measure the kept epochs too")]


def repeated(values: Iterable[Value]) -> list[Value]:
    """Return the values that occur more than once.

    Examples
    --------
    >>> repeated([3, 1, 3, 2, 3, 1])
    [3, 1]
    """
    return [value for value, times in Counter(values).items() if times > 1]


def parse_at(model: type[Section], values: Any, where: tuple[str, ...] = ()) -> Section:
    """Check values as a section of the configuration.

    Parameters
    ----------
    model
        Class of the section.
    values
        Plain values of its keys, or a section of the class.
    where
        Keys that lead to the section, for error messages.

    Returns
    -------
    The section.

    Raises
    ------
    ConfigError
        Where a key is unknown or missing, or its value breaks a rule. The message is one line.

    Examples
    --------
    >>> parse_at(LastLayers, {"last": 0}, ("measurements", "activations", "layers"))
    Traceback (most recent call last):
    unitlens.errors.ConfigError: measurements.activations.layers.last = 0: input should be ...
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(cut(printable(_one_line(error, where, model)), LINE)) from None
    except RecursionError:
        raise ConfigError(
            f"{'.'.join(where) or 'the configuration'} is nested too deep; nest fewer sections and "
            "lists"
        ) from None


# In the locations of pydantic's errors a tag follows a key whose type is a union. Tags are no keys.
# For each such key but `model`: tag to the section that it stands for, if any.
_TAGS = {
    "layers": {"LastLayers": "LastLayers", "names": ""},
    "reduce": {"one": "", "several": ""},
    "samples": {"one": "", "several": ""},
    "parts": {"number": "", "word": ""},
    "memory_gb": {"number": "", "word": ""},
    "checkpoints": {"list": "", "series": "LookSeries"},
}
# The same for the entries of a list.
_ENTRY_TAGS = {"name": "", "declared": "DeclaredLayer", "number": "", "series": "LookSeries"}


# The remedies for values of another kind, where those of pydantic speak of Python's types.
_KINDS = {
    "string_type": "must be a text; write it in quotes",
    "dict_type": "must be keys with values; write them as {key: value}",
    "model_type": "must be keys with values; write them as {key: value}",
    "model_attributes_type": "must be keys with values; write them as {key: value}",
}


def _one_line(error: ValidationError, where: tuple[str, ...], model: type[BaseModel]) -> str:
    problems = error.errors(include_url=False)
    problem = problems[0]
    raised = problem.get("ctx", {}).get("error")
    if isinstance(raised, ConfigError):  # of a section that was checked alone: names its own key
        return str(raised)
    path = [*where, *(part for part, tag in _tagged(problem["loc"]) if tag is None)]
    key = ".".join(cut(part) for part in path if part != "[key]") or "the configuration"
    rule = _rule(problem, model)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if problem["type"] == "missing":
        return f"{key} is missing: {rule}{more}"
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a key of the configuration: {rule}{more}"
    value = problem["input"]
    of_value = f" = {shown(value)}" if not isinstance(value, dict | BaseModel) else ""
    return f"{key}{of_value}: {rule}{more}"


def _tagged(location: Sequence[Any]) -> list[tuple[str, str | None]]:
    """Pair each part of a location with the section that it stands for as a tag; None: a key."""
    return [(part, _section_of_tag(key, part)) for key, part in pairwise(["", *map(str, location)])]


def _section_of_tag(key: str, part: str) -> str | None:
    if key == "model":  # its tags are the names of sections
        return part if part.endswith("Spec") else None
    if key.isdecimal() and part in _ENTRY_TAGS:
        return _ENTRY_TAGS[part]
    return _TAGS.get(key, {}).get(part)


def _rule(problem: Any, model: type[BaseModel]) -> str:
    if problem["type"] == "extra_forbidden":
        *parents, key = problem["loc"]
        return nearest(str(key), _keys_at(model, parents))
    if problem["type"] in _KINDS:
        return _KINDS[problem["type"]]
    if problem["type"] == "tuple_type":
        return f"must be a list; write it in brackets, as [{shown(problem['input'])}]"
    if problem["type"] == "int_parsing":
        return "input should be a valid integer, written in digits such as 10"
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "literal_error":
        allowed = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"must be one of {', '.join(allowed)}; {nearest(str(problem['input']), allowed)}"
    return text[0].lower() + text[1:]


def _keys_at(model: type[BaseModel], parents: Sequence[Any]) -> list[str]:
    """Return the keys of the section at `parents`, as the JSON schema has them."""
    schema = model.model_json_schema()
    sections: list[dict[str, Any]] = [schema]
    for part, tag in _tagged(parents):
        if tag is None:
            sections = [inner for node in sections for inner in _step(schema, node, part)]
        elif tag:
            sections = [schema["$defs"][tag]]
    return list(dict.fromkeys(key for node in sections for key in node.get("properties", {})))


def _step(schema: dict[str, Any], node: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """Return the nodes of a JSON schema to which a key, or the number of an item, leads."""
    inner = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
    return _resolve(schema, inner) if isinstance(inner, dict) else []


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a node of a JSON schema, or the nodes that it refers to."""
    if "$ref" in node:
        return [schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]]
    choices = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
    if choices:
        return [inner for choice in choices for inner in _resolve(schema, choice)]
    return [node]
