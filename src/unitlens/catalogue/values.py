"""The values that ablated units are clamped to, and the bases along which sets are ablated.

Each is declared once. The function that computes a value has the value's name in ``MAKERS`` of
:mod:`unitlens.perturbation.values.clamping`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ClampingValue:
    """Declaration of a value that ablated units are clamped to.

    Attributes
    ----------
    label
        Short name in pictures.
    description
        The value of a unit, in one sentence.
    source
        What the value is made from: ``"nothing"``; ``"unit means"``, the mean activation of each
        unit over the training set, which a workflow has stored; or ``"reference"``, forward passes
        over a reference data set, in a workflow the training set.
    extra_passes
        Samples that are run for the value, beside those of the ablation, where stored means are
        at hand: ``"none"``, ``"reference"`` (each sample of the reference once) or ``"scored"``
        (one more sample for each one that is scored).
    constant
        Whether a unit has one value for all samples and positions. Only such values apply to
        directions that mix units.
    """

    label: str
    description: str
    source: Literal["nothing", "unit means", "reference"]
    extra_passes: Literal["none", "reference", "scored"] = "none"
    constant: bool = False

    def extra_samples(self, *, scored: int, reference: int) -> int:
        """Return the number of samples that are run for the value, beside the ablation.

        Parameters
        ----------
        scored
            Number of samples that are scored.
        reference
            Number of samples of the reference.

        Examples
        --------
        >>> VALUES["class_mean"].extra_samples(scored=100, reference=4000)
        4000
        """
        return {"none": 0, "reference": reference, "scored": scored}[self.extra_passes]


@dataclass(frozen=True)
class AblationBasis:
    """Declaration of a basis of each layer along which sets are ablated.

    Attributes
    ----------
    label
        Short name in pictures.
    description
        The directions of a layer, in one sentence.
    stored
        Whether the directions are read from principal components that a workflow has stored;
        functions of the library take such directions as arrays.
    """

    label: str
    description: str
    stored: bool = False


VALUES: dict[str, ClampingValue] = {
    "zero": ClampingValue(
        "zero",
        "0 for every sample and position",
        "nothing",
        constant=True,
    ),
    "mean": ClampingValue(
        "mean",
        "the unit's mean over the samples and positions of the reference",
        "unit means",
        constant=True,
    ),
    "position_mean": ClampingValue(
        "mean at each position",
        "the unit's mean over the samples of the reference, at each position",
        "reference",
        "reference",
    ),
    "class_mean": ClampingValue(
        "mean of the class",
        "the unit's mean over the positions and the samples of the reference that have the label "
        "of the scored sample",
        "reference",
        "reference",
    ),
    "resample": ClampingValue(
        "value of another sample",
        "the unit's activation at each position on another sample, drawn from the reference",
        "reference",
        "scored",
    ),
}

BASES: dict[str, AblationBasis] = {
    "units": AblationBasis("units", "the units themselves"),
    "random": AblationBasis("random directions", "a random orthonormal basis"),
    "principal_components": AblationBasis(
        "principal components",
        "the principal components of the recorded activations, by falling variance",
        stored=True,
    ),
}
