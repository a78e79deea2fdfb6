"""Reading of YAML files: what YAML would take in silence for something else is refused.

PyYAML reads YAML 1.1: the later of two equal keys counts, 010 is 8, 1:30 is 90, no is false. The
file's nodes are checked before they become values; every refusal is one line with the file, the
line, the rule and the remedy.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from unitlens.errors import LINE, ConfigError, cut, one_line, printable, shown

DEPTH = 50  # levels of nested sections and lists
NODES = 1_000_000  # values of a file, each anchor counted as often as it is named
_CORE = "tag:yaml.org,2002:"
_KINDS = {"str", "int", "float", "bool", "null", "map", "seq", "merge"}
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_TEXT_EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")
_WORDS = {"yes", "no", "on", "off"}


def read_yaml(path: str | Path) -> Any:
    """Read a file of YAML.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Its values, as plain dicts, lists, texts, numbers, truth values and None.

    Raises
    ------
    ConfigError
        Where the file cannot be read, is not YAML, names a key twice, or has a value that YAML
        takes for something else than what stands there. The message is one line.
    """
    name = f"the configuration {printable(str(path))}"
    try:
        loader = yaml.SafeLoader(_read_text(Path(path), name))
        node = loader.get_single_node()
        if node is None:
            return None
        _Checker(name).check(node)
        return loader.construct_document(node)
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(
            f"{name} is nested too deep to be read; close its brackets, and nest at most {DEPTH} "
            "sections and lists"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_error(error, name)) from error
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError) as error:
        reason = cut(printable(one_line(error)))
        raise ConfigError(
            f"{name} has a value that YAML cannot read ({reason}); write the value in quotes, or "
            "without its !!tag"
        ) from error


def _read_text(path: Path, name: str) -> str:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        reason = getattr(error, "strerror", None) or one_line(error)
        raise ConfigError(
            f"{name} cannot be read: {reason}; name an existing file that you may read"
        ) from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{name}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file "
            "as UTF-8"
        ) from error


def _yaml_error(error: yaml.YAMLError, name: str) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = " ".join(part for part in (error.context, error.problem) if part)
    elif isinstance(error, yaml.reader.ReaderError):
        code = error.character if isinstance(error.character, int) else ord(error.character)
        where, reason = "", f"character U+{code:04X} at position {error.position}"
    else:
        where, reason = "", str(error)
    remedy = "put that place right"
    if "'\\t'" in reason:
        remedy = "indent with spaces, not with tabs"
    elif isinstance(error, yaml.reader.ReaderError):
        remedy = "remove the character, or write it as an escape in double quotes"
    elif isinstance(error, yaml.composer.ComposerError) and "single document" in reason:
        remedy = "leave one document, without further lines ---"
    elif isinstance(error, yaml.constructor.ConstructorError):
        remedy = "write the value in quotes, or without its !!tag"
    reason = cut(printable(one_line(ValueError(reason))))
    return cut(f"{name}{where} is not YAML: {reason}; {remedy}", LINE)


class _Checker:
    """Checks the nodes of a file.

    Parameters
    ----------
    name
        The file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._sizes: dict[tuple[int, bool], int] = {}
        self._open: set[int] = set()

    def check(self, node: yaml.Node) -> None:
        """Refuse what YAML would take for something else.

        Raises
        ------
        ConfigError
            Where a node breaks a rule.
        """
        self._size(node, in_arguments=False, depth=0)

    def _size(self, node: yaml.Node, *, in_arguments: bool, depth: int) -> int:
        """Check a node and return the number of values that it stands for."""
        key = (id(node), in_arguments)
        if key in self._sizes:
            return self._sizes[key]
        if id(node) in self._open:
            raise self._refusal(node, "an anchor refers to itself; write its values out")
        if depth > DEPTH:
            raise self._refusal(
                node, f"sections and lists are nested more than {DEPTH} deep; nest fewer"
            )
        self._check_tag(node)
        self._open.add(id(node))
        size = 1
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            for inner_key, value in node.value:
                inside = in_arguments or "arguments" in str(inner_key.value).split(".")
                size += self._size(value, in_arguments=inside, depth=depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                size += self._size(item, in_arguments=in_arguments, depth=depth + 1)
        else:
            self._check_scalar(node, in_arguments=in_arguments)
        if size > NODES:
            raise self._refusal(
                node, f"anchors stand for more than {NODES:,} values; name fewer of them"
            )
        self._open.remove(id(node))
        self._sizes[key] = size
        return size

    def _check_tag(self, node: yaml.Node) -> None:
        kind = node.tag.removeprefix(_CORE)
        if kind == "timestamp":
            raise self._refusal(node, f"{shown(node.value)} is read as a date; write it in quotes")
        if kind not in _KINDS:
            raise self._refusal(
                node,
                f"the tag {shown(node.tag)} is no kind of value of a configuration; remove the "
                "tag, or write the value in quotes",
            )

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refusal(key, "a key is a section or a list; write a text as key")
            text, line = str(key.value), key.start_mark.line + 1
            kind = key.tag.removeprefix(_CORE)
            if kind not in ("str", "merge"):
                raise self._refusal(
                    key, f"the key {shown(text)} is read as {kind}, not as text; write it in quotes"
                )
            if text in seen:
                remedy = "rename or remove one of them"
                if kind == "merge":
                    remedy = "list all anchors after one <<, as [*one, *two]"
                raise self._refusal(
                    key,
                    f"the key {shown(text)} stands on line {seen[text]} already, and only one of "
                    f"the two would count; {remedy}",
                )
            seen[text] = line

    def _check_scalar(self, node: yaml.Node, *, in_arguments: bool) -> None:
        text = str(node.value)
        kind = node.tag.removeprefix(_CORE)
        if getattr(node, "style", None) is not None or kind == "null":
            return
        if _OCTAL.fullmatch(text):
            raise self._refusal(
                node,
                f"{shown(text)} begins with 0, which YAML reads as an octal number; write the "
                "number without the 0, or in quotes where it is a text",
            )
        if kind in ("int", "float") and _SEXAGESIMAL.fullmatch(text):
            raise self._refusal(
                node,
                f"{shown(text)} is read as a number to the base 60; write the number itself, or "
                "in quotes where it is a text",
            )
        if in_arguments:
            self._check_argument(node, text, kind)

    def _check_argument(self, node: yaml.Node, text: str, kind: str) -> None:
        """Refuse values whose kind no section declares, and whose kind YAML guesses wrong."""
        if kind == "str" and _TEXT_EXPONENT.fullmatch(text):
            raise self._refusal(
                node,
                f"{shown(text)} is read as a text, not as a number; write it with a point and a "
                "sign, such as 1.0e-3, or in quotes where it is a text",
            )
        if kind == "bool" and text.lower() in _WORDS:
            raise self._refusal(
                node,
                f"{shown(text)} is read as a truth value; write true or false, or write it in "
                "quotes where it is a text",
            )
        if kind == "float" and text.lower().lstrip("+-") in (".nan", ".inf"):
            raise self._refusal(node, f"{shown(text)} is no finite number; write one, or a text")

    def _refusal(self, node: yaml.Node, rule: str) -> ConfigError:
        line = node.start_mark.line + 1
        return ConfigError(cut(f"{self._name}, line {line}: {rule}", LINE))
