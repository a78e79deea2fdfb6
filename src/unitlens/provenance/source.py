"""The definitions of the package's modules, and the names that each definition uses.

Modules are read as syntax trees and never imported: to parse a workflow costs no library.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeGuard

from unitlens.provenance.canonical import canonical_text, reduce_definition

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.name
DATA_SUFFIXES = (".html", ".css")


class Symbol(NamedTuple):
    """A name at the top level of a module; an empty name stands for the whole module."""

    module: str
    name: str


@dataclass(frozen=True)
class Definition:
    """The statements that define a name, reduced to what a result can depend on.

    Attributes
    ----------
    text
        The statements, the imports from other packages that they use, and the contents of data
        files beside the module that they name.
    uses
        Symbols of the package that the statements use.
    """

    text: str
    uses: frozenset[Symbol]


class _Statement:
    """A statement at the top level of a module: what it imports inside, and its reduced nodes."""

    def __init__(self, node: ast.stmt) -> None:
        inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
        self.imports = dict(pair for statement in inner for pair in _imported(statement))
        self.nodes = list(ast.walk(reduce_definition(node)))
        self.text = canonical_text(node)


@dataclass
class _Module:
    """A module's statements by the names that they define, and its imports by local name.

    `effects` are the statements that define no name and run whenever the module is imported.
    """

    name: str
    statements: dict[str, list[_Statement]] = field(default_factory=dict)
    effects: list[_Statement] = field(default_factory=list)
    imports: dict[str, Symbol] = field(default_factory=dict)


def names_in(module: str) -> tuple[str, ...]:
    """Return the names that a module defines at its top level."""
    return tuple(_parse(module).statements)


@cache
def define(symbol: Symbol) -> Definition:
    """Return the definition of a symbol.

    Parameters
    ----------
    symbol
        A symbol of the package. A name that the module imports is defined where it comes from, so
        its definition is empty and uses the symbol there.

    Raises
    ------
    LookupError
        Where the module has no such name: what a name stands for must show in the source.
    """
    module = _parse(symbol.module)
    if symbol.name in module.imports and symbol.name not in module.statements:
        return Definition("", frozenset([module.imports[symbol.name]]))
    if not symbol.name:
        return Definition("", frozenset(Symbol(module.name, name) for name in module.statements))
    if symbol.name not in module.statements:
        raise LookupError(f"{symbol.module} does not define {symbol.name!r}, nor import it")
    return _describe(module, [*module.statements[symbol.name], *module.effects])


def is_module(name: str) -> bool:
    """Tell whether a dotted name is that of a module or package of the package."""
    return _file(name) is not None


@cache
def _parse(name: str) -> _Module:
    file = _file(name)
    if file is None:
        raise ModuleNotFoundError(f"there is no module {name}")
    module = _Module(name)
    for statement in ast.parse(file.read_bytes()).body:
        _sort(statement, module)
    return module


def _sort(statement: ast.stmt, module: _Module) -> None:
    """Put a top-level statement where it belongs in the description of its module."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        module.imports.update(_imported(statement))
    elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        module.statements.setdefault(statement.name, []).append(_Statement(statement))
    elif names := _assigned(statement):
        shared = _Statement(statement)
        for name in names:
            module.statements.setdefault(name, []).append(shared)
    elif _is_for_type_checkers(statement):
        for at_run_time in statement.orelse:
            _sort(at_run_time, module)
    elif not _is_text(statement):
        module.effects.append(_Statement(statement))


def _is_for_type_checkers(statement: ast.stmt) -> TypeGuard[ast.If]:
    test = statement.test if isinstance(statement, ast.If) else None
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _assigned(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    else:
        return []
    nodes = [node for target in targets for node in ast.walk(target)]
    if any(isinstance(node, ast.Attribute | ast.Subscript) for node in nodes):
        return []
    return [node.id for node in nodes if isinstance(node, ast.Name)]


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Symbol]]:
    """Yield the local name and the symbol of each name that a statement imports.

    The symbol of a module has an empty name. Modules of other packages are told in full.
    """
    for alias in statement.names:
        if isinstance(statement, ast.Import):
            local = alias.asname or alias.name.partition(".")[0]
            yield local, Symbol(alias.name if alias.asname else local, "")
        elif is_module(inner := f"{statement.module}.{alias.name}"):
            yield alias.asname or alias.name, Symbol(inner, "")
        else:
            yield alias.asname or alias.name, Symbol(str(statement.module), alias.name)


def _describe(module: _Module, statements: list[_Statement]) -> Definition:
    imports = dict(module.imports)
    for statement in statements:
        imports.update(statement.imports)
    nodes = [node for statement in statements for node in statement.nodes]
    ours, foreign = _uses(module, imports, nodes)
    texts = [statement.text for statement in statements]
    texts += sorted(f"{symbol.module} {symbol.name}" for symbol in foreign)
    texts += _data_beside(module.name, nodes)
    return Definition("\n".join(texts), frozenset(ours))


def _uses(
    module: _Module, imports: dict[str, Symbol], nodes: list[ast.AST]
) -> tuple[set[Symbol], set[Symbol]]:
    """Return the symbols of the package, and those of other packages, that nodes use."""
    ours: set[Symbol] = set()
    foreign: set[Symbol] = set()
    whole = {node.id for node in nodes if isinstance(node, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.Call):
            ours |= {Symbol(name, "") for name in _loaded_by_name(node)}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            origin = imports.get(node.value.id)
            if origin is not None and not origin.name and _is_ours(origin):
                ours.add(Symbol(origin.module, node.attr))
                whole.discard(node.value.id)
    for name in whole:
        if name in imports:
            (ours if _is_ours(imports[name]) else foreign).add(imports[name])
        elif name in module.statements:
            ours.add(Symbol(module.name, name))
    return ours, foreign


def _loaded_by_name(call: ast.Call) -> list[str]:
    """Return the modules that ``import_module(f"unitlens.room.{name}")`` may load: the room."""
    if not (isinstance(call.func, ast.Name) and call.func.id == "import_module" and call.args):
        return []
    text = call.args[0]
    if not (isinstance(text, ast.JoinedStr) and isinstance(text.values[0], ast.Constant)):
        raise LookupError(  # noqa: TRY004  (a fault of the source, as a missing name is)
            f"import_module in line {call.lineno} needs the text f'{ROOT}.room.{{name}}'"
        )
    room = str(text.values[0].value).removesuffix(".")
    folder = PACKAGE.joinpath(*room.split(".")[1:])
    return sorted(f"{room}.{file.stem}" for file in folder.glob("[!_]*.py"))


def _is_ours(symbol: Symbol) -> bool:
    return symbol.module.partition(".")[0] == ROOT


def _data_beside(module: str, nodes: list[ast.AST]) -> Iterator[str]:
    """Yield the contents of the data files beside a module that nodes name."""
    file = _file(module)
    if file is None:
        return
    for node in nodes:
        if isinstance(node, ast.Constant) and str(node.value).endswith(DATA_SUFFIXES):
            data = file.parent / str(node.value)
            if data.is_file():
                yield data.read_text()


@cache
def _file(module: str) -> Path | None:
    """Find the source of a module without importing the packages that it lies in."""
    root, _, rest = module.partition(".")
    if root != ROOT:
        return None
    base = PACKAGE.joinpath(*rest.split(".")) if rest else PACKAGE
    for file in (base / "__init__.py", base.with_suffix(".py")):
        if file.is_file():
            return file
    return None
