"""Every dimension and variable of unitlens' tables, declared once.

The declarations feed three things: the check of every table that is written or read
(:func:`validate`), the attributes that every variable carries (:func:`annotate`), and the
documentation.
"""

from unitlens.variables.checks import annotate, validate
from unitlens.variables.coordinates import unit_coordinates
from unitlens.variables.declaration import DIMENSIONS, Variable
from unitlens.variables.schemas import SCHEMAS, VARIABLES, Schema

__all__ = [
    "DIMENSIONS",
    "SCHEMAS",
    "VARIABLES",
    "Schema",
    "Variable",
    "annotate",
    "unit_coordinates",
    "validate",
]
