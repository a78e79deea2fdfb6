"""Sections that say how the units of every network are perturbed."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from unitlens.config.base import Strict
from unitlens.config.choices import ClampValue, LayerChoice, Split, TopScore


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
    value: ClampValue = "zero"
    score: TopScore = "top1"
    first_order: bool = Field(
        default=True, description="estimate the loss increase by the gradient as well"
    )
    checkpoints: bool = Field(default=False, description="measure the kept epochs as well")


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
    basis: Literal["units", "random", "principal_components"] = Field(
        "units",
        description="what is ablated: units, the directions of a random basis of each layer, or "
        "its principal components, which are also ablated by variance, down and up",
    )
    points: Annotated[int, Field(ge=2)] = Field(21, description="points of a curve, ends included")
    value: ClampValue = "zero"
    score: TopScore = "top1"
    checkpoints: bool = Field(default=False, description="measure the kept epochs as well")

    @model_validator(mode="after")
    def _of_units(self) -> "CumulativeAblationSpec":
        if self.by and self.basis != "units":
            raise ValueError(
                f"by must be empty where basis is {self.basis}: its measures are of units"
            )
        return self


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

    split: Split = "train"
    samples: PositiveInt | None = Field(
        None, description="size of a seeded subset of the split; all of it if null"
    )
    scales: ScaleSpec = ScaleSpec()
    draws: PositiveInt = Field(10, description="independent draws of the noise at each scale")
    score: TopScore = "top1"
    checkpoints: bool = Field(default=False, description="measure the kept epochs as well")
