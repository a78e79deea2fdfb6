"""A definition reduced to what a result can depend on, as text."""

import ast
from collections.abc import Iterator

# Errors that end a job. TableError is not among them: its text can stand on the comparison page.
ERRORS = frozenset(
    ("ArgumentError", "ConfigError", "DatasetError", "LayerError", "ModelError", "StoreError")
)
# Which arguments of a declaration are words for people.
WORDS = {
    "Variable": slice(3, None),  # units, long name, description
    "ClampingValue": slice(0, 2),  # label, description
    "AblationBasis": slice(0, 2),
}


def reduce_definition(statement: ast.stmt) -> ast.stmt:
    """Remove from a statement, in place, all that changes no number and no file.

    Parameters
    ----------
    statement
        A statement at the top level of a module.

    Returns
    -------
    The statement without docstrings, import statements, annotations of functions and of variables
    (fields of classes keep theirs), calls of ``logger``, messages of errors that end a job, and
    the words that declare a variable.
    """
    for node in ast.walk(statement):
        _reduce_node(node)
    return statement


def canonical_text(node: ast.AST) -> str:
    """Return a syntax tree as text that is the same in every version of Python.

    Examples
    --------
    >>> canonical_text(ast.parse("x=1 # one")) == canonical_text(ast.parse("x = 1"))
    True
    >>> canonical_text(ast.parse("x = 1")) == canonical_text(ast.parse("x = 2"))
    False
    """
    parts: list[str] = []
    _write(node, parts)
    return "".join(parts)


def _reduce_node(node: ast.AST) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        node.returns = None
        every = node.args
        for argument in (*every.posonlyargs, *every.args, *every.kwonlyargs):
            argument.annotation = None
        for variadic in (every.vararg, every.kwarg):
            if variadic is not None:
                variadic.annotation = None
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            in_class = isinstance(node, ast.ClassDef)
            setattr(node, name, [s for old in block for s in _reduced(old, in_class=in_class)])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        del node.args[WORDS.get(node.func.id, slice(0))]
    if isinstance(node, ast.Raise) and _is_named_call(node.exc, ERRORS):
        node.exc, node.cause = node.exc.func, None  # type: ignore[union-attr]


def _reduced(statement: ast.stmt, *, in_class: bool) -> Iterator[ast.stmt]:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return
    if isinstance(statement, ast.Expr):
        value = statement.value
        if isinstance(value, ast.Constant) or _is_logging(value):
            return
    if isinstance(statement, ast.AnnAssign) and not in_class:
        if statement.value is not None:
            yield ast.Assign([statement.target], statement.value)
        return
    yield statement


def _is_named_call(node: ast.expr | None, names: frozenset[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _is_logging(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "logger"
    )


def _write(value: object, parts: list[str]) -> None:
    if isinstance(value, ast.AST):
        parts.append(type(value).__name__ + "(")
        for name in value._fields:
            field = getattr(value, name, None)
            # Newer versions of Python have more fields, which are empty.
            if name not in ("ctx", "kind", "type_comment") and field not in (None, []):
                parts.append(f"{name}=")
                _write(field, parts)
            elif name == "value" and isinstance(value, ast.Constant):
                parts.append("None")
        parts.append(")")
    elif isinstance(value, list):
        for item in value:
            _write(item, parts)
    else:
        parts.append(repr(value) + ",")
