"""The check of every table that is written or read, and the attributes of its variables."""

import xarray as xr

from unitlens.errors import TableError, nearest
from unitlens.variables.declarations import VARIABLES
from unitlens.variables.schemas import SCHEMAS, Schema
from unitlens.variables.unit_index import index_units
from unitlens.variables.variable import DIMENSIONS


def validate(dataset: xr.Dataset, schema: str) -> None:
    """Check that `dataset` is a table of the kind `schema`.

    Parameters
    ----------
    dataset
        The table.
    schema
        Name of a schema, one of :data:`SCHEMAS`.

    Raises
    ------
    TableError
        Where a variable is missing, or has other dimensions or another kind of dtype than
        declared, or the table's attributes name another schema or version.
    """
    rules = SCHEMAS[schema]
    stated = (
        dataset.attrs.get("schema", schema),
        dataset.attrs.get("schema_version", rules.version),
    )
    if stated != (rules.name, rules.version):
        raise TableError(
            f"the table follows schema {stated[0]} version {stated[1]}, but must follow "
            f"{rules.name} version {rules.version}; make the table again with this version of "
            "unitlens"
        )
    of_classes = () if "no_classes" in dataset.attrs else rules.of_classes
    for name in (*rules.required, *of_classes):
        if name not in dataset.variables:
            raise TableError(
                f"the {schema} table has no variable '{name}', which its schema requires; "
                f"{nearest(name, map(str, dataset.variables))}"
            )
    for name in rules.names:
        if name in dataset.variables:
            _check_variable(dataset[name], _dims(rules, name), schema)


def _dims(rules: Schema, name: str) -> tuple[str, ...]:
    return (rules.dims or {}).get(name, VARIABLES[name].dims)


def _check_variable(array: xr.DataArray, dims: tuple[str, ...], schema: str) -> None:
    declared = VARIABLES[str(array.name)]
    if array.dims != dims:
        raise TableError(
            f"'{array.name}' of the {schema} table has dimensions {array.dims}, but must have "
            f"{dims}; transpose or rename the dimensions"
        )
    if array.dtype.kind not in declared.kind:
        raise TableError(
            f"'{array.name}' of the {schema} table has dtype {array.dtype}, but the kind of its "
            f"dtype must be one of '{declared.kind}'; cast the variable"
        )


def annotate(dataset: xr.Dataset, schema: str) -> xr.Dataset:
    """Check a table and return it with the declared attributes on every variable.

    Parameters
    ----------
    dataset
        A table that holds the variables that its schema requires.
    schema
        Name of a schema, one of :data:`SCHEMAS`.

    Returns
    -------
    A shallow copy with ``long_name``, ``units`` and ``description`` on each declared variable,
    ``description`` on each dimension coordinate, the schema's name and version in the attributes,
    and a :class:`~unitlens.variables.unit_index.UnitIndex` over the units.

    Raises
    ------
    TableError
        As :func:`validate`.
    """
    rules = SCHEMAS[schema]
    dataset = dataset.assign_attrs(schema=rules.name, schema_version=rules.version)
    validate(dataset, schema)
    return index_units(describe(dataset))


def describe(dataset: xr.Dataset) -> xr.Dataset:
    """Return a shallow copy of `dataset` with the declared attributes on its variables.

    Parameters
    ----------
    dataset
        Any dataset. Variables that are not declared keep their attributes.
    """
    dataset = dataset.copy(deep=False)
    for name, array in dataset.variables.items():
        if name in VARIABLES:
            declared = VARIABLES[str(name)]
            array.attrs.update(
                long_name=declared.long_name,
                units=declared.units,
                description=declared.description,
            )
        elif name in DIMENSIONS:
            array.attrs.update(description=DIMENSIONS[str(name)])
    return dataset
