"""The dimensions of tables, and what the declaration of a variable holds."""

from dataclasses import dataclass

DIMENSIONS = {
    "sample": "samples of one split, in the order of the data set",
    "unit": "units, in the order of the layers in the forward pass, then by channel",
    "layer": "layers, in the order of the forward pass",
    "direction": "directions of one layer: vectors over its units",
    "group": "groups of units that are ablated at once",
    "class": "classes, as integers from 0",
    "bin": "bins of a unit's activation histogram, ascending",
    "bin_edge": "edges of those bins, ascending, one more than there are bins",
    "rank": "the samples with a unit's largest activations, the largest first",
    "order": "orders in which units, or directions, are ablated cumulatively",
    "ablated": "steps of a cumulative ablation, from none to all units, or directions",
    "draw": "independent draws of the noise",
    "noise_scale": "standard deviation of the noise in units of that of each unit's elements, or of each unit, as the attribute per says",
    "run": "trained networks",
    "epoch": "epochs of training",
    "experiment": "families of runs, as the configuration names them",
    "row": "rows of the table of correlations",
}


TEXT = "UOT"
UNIT, UNIT_CLASS = ("unit",), ("unit", "class")


@dataclass(frozen=True)
class Variable:
    """The declaration of one variable.

    Attributes
    ----------
    name
        Name of the variable in a table.
    dims
        Dimensions, in order.
    kind
        Allowed NumPy dtype kinds: f float, i and u integer, b bool, U, O and T text.
    units
        Units of the values; "1" for a pure number, empty for a name or an index.
    long_name
        A few words, for axes and column heads.
    description
        The meaning, with the formula where it is short.
    """

    name: str
    dims: tuple[str, ...]
    kind: str
    units: str
    long_name: str
    description: str


def declare(*variables: Variable) -> dict[str, Variable]:
    """Return variables by their names."""
    return {variable.name: variable for variable in variables}
