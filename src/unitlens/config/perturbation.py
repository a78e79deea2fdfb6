"""Sections that say how the units of every network are perturbed."""

from collections import Counter
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from unitlens.config.base import (
    BasisName,
    ClampValue,
    LayerChoice,
    Split,
    Strict,
    TopScore,
    ValueName,
)


class UnitAblationSpec(Strict):
    """How the units are ablated one at a time."""

    split: Split = "train"
    samples: PositiveInt | None = Field(
        None, description="size of a seeded subset of the split; all of it if null"
    )
    layers: LayerChoice = None
    units: PositiveInt | None = Field(
        None, description="size of a seeded sample of the units; all of them if null"
    )
    units_per_layer: PositiveInt | None = Field(
        None, description="the same of each layer, instead of `units`"
    )
    value: ClampValue = "zero"
    score: TopScore = "top1"
    first_order: bool = Field(
        default=True, description="estimate the loss increase by the gradient as well"
    )
    checkpoints: bool = Field(default=False, description="measure the kept epochs as well")

    @model_validator(mode="after")
    def _one_sample(self) -> "UnitAblationSpec":
        if self.units is not None and self.units_per_layer is not None:
            raise ValueError(
                f"units = {self.units} and units_per_layer = {self.units_per_layer}: give one of "
                "them"
            )
        return self

    @property
    def to_mean(self) -> bool:
        """Whether units are clamped to their recorded means."""
        return self.value == "mean"

    @property
    def needs_measures(self) -> bool:
        """Whether the unit measures must be there: they have the means."""
        return self.to_mean


class CurveVariantSpec(Strict):
    """Further curves of the same layers and samples: another value, another basis, or both."""

    value: ValueName | None = Field(
        None, description="what a unit is clamped to; as for the main curves if null"
    )
    basis: BasisName | None = Field(
        None, description="what is ablated; as for the main curves if null"
    )


class CumulativeAblationSpec(Strict):
    """How more and more units are ablated together."""

    split: Split = "train"
    samples: PositiveInt | None = Field(
        None, description="size of a seeded subset of the split; all of it if null"
    )
    layers: LayerChoice = None
    orders: PositiveInt = Field(10, description="number of random orders")
    by: tuple[Literal["selectivity", "mutual_information", "variance", "mean", "l1_norm"], ...] = (
        Field((), description="unit measures by which units are ablated too, both up and down")
    )
    basis: BasisName = Field(
        "units",
        description="what is ablated: units, the directions of a random basis of each layer, or "
        "its principal components, which are also ablated by variance, down and up",
    )
    points: Annotated[int, Field(ge=2)] = Field(21, description="points of a curve, ends included")
    value: ClampValue = "zero"
    also: tuple[CurveVariantSpec, ...] = Field(
        (),
        description="variants of which there are as many random orders more, in the same job and "
        "file: [{value: mean}, {basis: random}]",
    )
    score: TopScore = "top1"
    checkpoints: bool = Field(default=False, description="measure the kept epochs as well")

    @model_validator(mode="after")
    def _each_variant_once(self) -> "CumulativeAblationSpec":
        twice = [variant for variant, times in Counter(self.variants).items() if times > 1]
        if twice:
            value, basis = twice[0]
            raise ValueError(
                f"also must name each variant once, and not the main one, but value {value} with "
                f"basis {basis} is named again"
            )
        return self

    @model_validator(mode="after")
    def _of_units(self) -> "CumulativeAblationSpec":
        if self.by and self.basis != "units":
            raise ValueError(
                f"by must be empty where basis is {self.basis}: its measures are of units"
            )
        return self

    @property
    def to_mean(self) -> bool:
        """Whether units are clamped to their recorded means in any variant."""
        return any(value == "mean" for value, _ in self.variants)

    @property
    def needs_measures(self) -> bool:
        """Whether the unit measures must be there: means to clamp to, or orders by measures."""
        return self.to_mean or bool(self.by)

    @property
    def needs_components(self) -> bool:
        """Whether the principal components must be there."""
        return any(basis == "principal_components" for _, basis in self.variants)

    @property
    def variants(self) -> tuple[tuple[ValueName, BasisName], ...]:
        """Value and basis of the main curves, then those of the further ones."""
        further = ((one.value or self.value, one.basis or self.basis) for one in self.also)
        return (self.value, self.basis), *further


class ScaleSpec(Strict):
    """Log-spaced scales of the noise."""

    minimum: PositiveFloat = 0.05
    maximum: PositiveFloat = 8.0
    points: Annotated[int, Field(ge=2)] = 12

    @model_validator(mode="after")
    def _ascending(self) -> "ScaleSpec":
        if self.maximum <= self.minimum:
            raise ValueError(f"maximum ({self.maximum}) must be above minimum ({self.minimum})")
        return self


class NoiseRobustnessSpec(Strict):
    """How noise is added to all units at once."""

    needs_measures: ClassVar[bool] = True  # the noise on every unit is scaled by its variance

    split: Split = "train"
    samples: PositiveInt | None = Field(
        None, description="size of a seeded subset of the split; all of it if null"
    )
    scales: ScaleSpec = ScaleSpec()
    draws: PositiveInt = Field(10, description="independent draws of the noise at each scale")
    score: TopScore = "top1"
    checkpoints: bool = Field(default=False, description="measure the kept epochs as well")
