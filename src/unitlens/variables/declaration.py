"""How a dimension and a variable are declared, and all dimensions."""

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
    "noise_scale": "standard deviation of the noise in units of each unit's own",
    "run": "trained networks",
    "epoch": "epochs of training",
    "experiment": "families of runs, as the configuration names them",
    "row": "rows of the table of correlations",
}


@dataclass(frozen=True)
class Variable:
    """One declared variable.

    `kind` holds the allowed NumPy dtype kinds: f float, i and u integer, b bool, U and O text.
    """

    name: str
    dims: tuple[str, ...]
    kind: str
    units: str
    long_name: str
    description: str


def declare(*variables: Variable) -> dict[str, Variable]:
    """Return the variables by their names."""
    return {variable.name: variable for variable in variables}


TEXT = "UOT"
UNIT, UNIT_CLASS = ("unit",), ("unit", "class")
