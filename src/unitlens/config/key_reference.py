"""The JSON schema and the reference page of the configuration, generated from its models."""

import json
from typing import Any

from unitlens.config.experiments import Config

_HEAD = """# The configuration

**A configuration is code: run only those that you trust.** Where it names a `module:function`, the
workflow imports the module and calls the function with your rights. `unitlens validate`, `unitlens
estimate` and dry runs (`snakemake -n`) call none of it: they find the module's file and look for
the function in its text, unless `--run-code` is given to the first two; layers and data of such
networks are checked when the workflow starts. Snakemake itself runs the Python expressions of a
file with the key `__use_yte__`, which `unitlens validate` refuses without running them: validate a
file of someone else before you give it to Snakemake.

Generated from the models in `src/unitlens/config/` by `python -m unitlens schema --markdown`; a
test holds the two together. Unknown keys are refused. `config.yaml` and `presets/` are examples.
"""


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration file."""
    return Config.model_json_schema()


def config_reference() -> str:
    """Return the reference of all keys of the configuration as Markdown.

    Returns
    -------
    A section of the page for each section of the configuration, with a row of a table for each
    key: name, type, default, meaning.
    """
    schema = config_schema()
    sections = [("The file", schema), *schema["$defs"].items()]
    return _HEAD + "".join(_section(title, section) for title, section in sections)


def _section(title: str, section: dict[str, Any]) -> str:
    required = section.get("required", [])
    rows = [
        f"| `{key}` | {_type(value)} | {_default(key, value, required)} | {_meaning(value)} |\n"
        for key, value in section.get("properties", {}).items()
    ]
    description = " ".join(section.get("description", "").split())
    columns = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
    return f"\n## {title}\n\n{description}\n\n{columns}" + "".join(rows)


def _meaning(value: dict[str, Any]) -> str:
    return str(value.get("description", "")).replace("|", "\\|")


def _default(key: str, value: dict[str, Any], required: list[str]) -> str:
    if key in required:
        return "required"
    default = value.get("default", {})
    return f"`{json.dumps(default)}`" if not isinstance(default, dict) else "as its section"


_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{name}`" for name in value["enum"])
    choices = value.get("anyOf") or value.get("oneOf")
    if choices:
        return " or ".join(_type(choice) for choice in choices)
    return _plain_type(value)


def _plain_type(value: dict[str, Any]) -> str:
    kind = value.get("type", "any")
    if kind == "array":
        items = value.get("items")
        if not items:
            return "list"
        several = items.get("anyOf") or items.get("oneOf")
        return f"list of ({_type(items)})" if several else f"list of {_type(items)}"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"name to {_type(inner)}" if isinstance(inner, dict) else "mapping"
    bounds = [text.format(f"{value[key]:g}") for key, text in _BOUNDS.items() if key in value]
    return ", ".join([str(kind), *bounds])
