"""Sections of the perturbations: unit ablation, cumulative ablation, noise."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from unitlens.catalogue.measures import ORDER_SCORES
from unitlens.config.base import (
    BasisName,
    ClampValue,
    FunctionSettings,
    JobParts,
    KeptEpochs,
    LayerChoice,
    LoadingProcesses,
    MemoryLimit,
    Split,
    Strict,
    TopScore,
    ValueName,
    repeated,
)

if TYPE_CHECKING:
    OrderScore = str
else:
    OrderScore = Literal[*ORDER_SCORES]

SampleCount = Annotated[
    PositiveInt | None,
    Field(description="size of a seeded subset of the split; null: the whole split"),
]


class UnitAblationSpec(FunctionSettings):
    """How units are ablated one at a time."""

    workflow_keys: ClassVar = frozenset({"split", "value", "checkpoints", "parts"})
    site_keys: ClassVar = frozenset({"workers", "memory_gb", "parts"})

    split: Split = "train"
    samples: SampleCount = None
    layers: LayerChoice = None
    units: PositiveInt | None = Field(
        None, description="size of a seeded sample of the units; null: all units"
    )
    units_per_layer: PositiveInt | None = Field(
        None, description="size of a seeded sample of the units of each layer, instead of `units`"
    )
    value: ClampValue = "zero"
    score: TopScore = "top1"
    workers: LoadingProcesses = 0
    memory_gb: MemoryLimit = "auto"
    parts: JobParts = 1
    first_order: bool = Field(
        default=True, description="estimate the loss increase from the gradient too"
    )
    rate: float | None = Field(
        None, gt=0, le=1,
        description="share of the pairs of a unit and a sample that are run, for estimates with "
        "standard errors; null: all, or as `tolerance` asks for",
    )  # fmt: skip
    tolerance: float | None = Field(
        None, gt=0, allow_inf_nan=False,
        description="largest standard error wanted of the loss increase of a unit, in nats, as an "
        "estimate of the exact one; null: exact, or as `rate` asks for",
    )  # fmt: skip
    checkpoints: KeptEpochs = False

    @model_validator(mode="after")
    def _one_way_to_draw(self) -> "UnitAblationSpec":
        if self.rate is not None and self.tolerance is not None:
            raise ValueError(
                f"rate = {self.rate} and tolerance = {self.tolerance} must not both be given; set "
                "one to null"
            )
        return self

    @model_validator(mode="after")
    def _one_sample(self) -> "UnitAblationSpec":
        if self.units is not None and self.units_per_layer is not None:
            raise ValueError(
                f"units = {self.units} and units_per_layer = {self.units_per_layer} must not both "
                "be given; set one to null"
            )
        return self

    @property
    def gradient_passes(self) -> int:
        """Number of times that the gradient of each sample is computed.

        Once for the first-order estimate, and once for the predictions of drawn pairs.
        """
        is_drawn = self.rate is not None or self.tolerance is not None
        return self.first_order + is_drawn

    @property
    def to_mean(self) -> bool:
        """Whether units are clamped to their recorded means."""
        return self.value == "mean"

    @property
    def needs_measures(self) -> bool:
        """Whether unit measures are needed: the means of the units."""
        return self.to_mean

    @property
    def most_parts(self) -> None:
        """Largest number of parts: as many as wanted, for a part may be without a unit."""
        return


class CurveVariantSpec(Strict):
    """A variant of the main curves, with another value, another basis, or both."""

    value: ValueName | None = Field(
        None, description="value to which units are clamped; null: that of the main curves"
    )
    basis: BasisName | None = Field(
        None, description="directions that are ablated; null: those of the main curves"
    )


class CumulativeAblationSpec(FunctionSettings):
    """How more and more units are ablated at once."""

    workflow_keys: ClassVar = frozenset(
        {"split", "checkpoints", "also", "value", "basis", "by", "parts"}
    )
    site_keys: ClassVar = frozenset({"workers", "memory_gb", "parts"})

    split: Split = "train"
    samples: SampleCount = None
    layers: LayerChoice = None
    orders: PositiveInt = Field(10, description="number of random orders")
    by: tuple[OrderScore, ...] = Field(
        (),
        description="unit measures; units are also ablated in rising and falling order of each",
    )
    basis: BasisName = Field(
        "units",
        description="directions that are ablated: units, a random basis of each layer, or the "
        "principal components of each layer; components are also ablated in descending and "
        "ascending order of variance",
    )
    points: Annotated[int, Field(ge=2)] = Field(21, description="points of a curve, with both ends")
    value: ClampValue = "zero"
    also: tuple[CurveVariantSpec, ...] = Field(
        (),
        description="variants of the main curves, such as [{value: mean}, {basis: random}], each "
        "with `orders` random orders, in the same job and file",
    )
    score: TopScore = "top1"
    workers: LoadingProcesses = 0
    memory_gb: MemoryLimit = "auto"
    parts: JobParts = 1
    checkpoints: KeptEpochs = False

    @model_validator(mode="after")
    def _each_variant_once(self) -> "CumulativeAblationSpec":
        again = repeated(self.variants)
        if again:
            value, basis = again[0]
            raise ValueError(
                "also must name each variant once, and not the main one, but value "
                f"{value} with basis {basis} is named again"
            )
        return self

    @model_validator(mode="after")
    def _of_units(self) -> "CumulativeAblationSpec":
        if self.by and self.basis != "units":
            raise ValueError(
                f"by must be empty where basis is {self.basis}: only units have measures; set "
                "basis to units, or name the other basis in also"
            )
        return self

    @property
    def to_mean(self) -> bool:
        """Whether units are clamped to their recorded means in any variant."""
        return any(value == "mean" for value, _ in self.variants)

    @property
    def needs_measures(self) -> bool:
        """Whether unit measures are needed: means to clamp to, or measures to order by."""
        return self.to_mean or bool(self.by)

    @property
    def needs_components(self) -> bool:
        """Whether principal components are needed."""
        return any(basis == "principal_components" for _, basis in self.variants)

    @property
    def most_parts(self) -> int:
        """Largest number of parts, of which each must have an order of each variant."""
        numbered = [2 * (basis == "principal_components") for _, basis in self.variants]
        numbered[0] += 2 * len(self.by)
        return self.orders + min(numbered)

    @property
    def variants(self) -> tuple[tuple[ValueName, BasisName], ...]:
        """Value and basis of the main curves, then of each variant in `also`."""
        others = (
            (variant.value or self.value, variant.basis or self.basis) for variant in self.also
        )
        return (self.value, self.basis), *others


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


class NoiseRobustnessSpec(FunctionSettings):
    """How noise is added to all units at once."""

    workflow_keys: ClassVar = frozenset({"split", "scales", "checkpoints", "parts"})
    later_keys: ClassVar = frozenset({"layers"})
    site_keys: ClassVar = frozenset({"workers", "memory_gb", "parts"})
    needs_measures: ClassVar[bool] = True  # variances of units that are one number a sample

    @property
    def most_parts(self) -> int:
        """Largest number of parts, of which each must have a draw."""
        return self.draws

    split: Split = "train"
    samples: SampleCount = None
    layers: LayerChoice = None
    scales: ScaleSpec = ScaleSpec()
    draws: PositiveInt = Field(10, description="independent draws of the noise at each scale")
    per: Literal["element", "unit"] = Field(
        "element",
        description="what has noise of its own: each element of a feature map, scaled by the "
        "standard deviation of the map's elements over samples and positions; or each unit, whose "
        "positions all have one number, scaled by the standard deviation of their mean",
    )
    score: TopScore = "top1"
    workers: LoadingProcesses = 0
    memory_gb: MemoryLimit = "auto"
    parts: JobParts = 1
    checkpoints: KeptEpochs = False
