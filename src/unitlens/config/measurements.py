"""Sections that say what is measured on every network."""

from collections import Counter
from typing import Annotated, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from unitlens.config.base import LayerChoice, Split, Strict
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)

Reduction = Literal["mean", "max", "active"]
Reductions = Annotated[
    Annotated[Reduction, Tag("one")]
    | Annotated[tuple[Reduction, ...], Field(min_length=1), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]


class MapSpec(Strict):
    """Which feature maps are kept whole, beside what they are reduced to."""

    layers: LayerChoice = Field(
        None,
        description="names of recorded layers, {last: n} for the last n that have maps, null for "
        "all that have",
    )
    samples: Annotated[
        Annotated[PositiveInt, Tag("one")]
        | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), Tag("several")],
        Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
    ] = Field(
        description="how many samples of each split, drawn alike for every network, or which ones, "
        "by their numbers from 0",
    )

    @field_validator("samples")
    @classmethod
    def _each_once(cls, samples: int | tuple[int, ...]) -> int | tuple[int, ...]:
        twice = (
            [s for s, times in Counter(samples).items() if times > 1]
            if isinstance(samples, tuple)
            else []
        )
        if twice:
            raise ValueError(f"must name each sample once, but sample {twice[0]} is named again")
        return samples


class ActivationSpec(Strict):
    """How activations are recorded."""

    layers: LayerChoice = None
    reduce: Reductions = Field(
        "mean",
        description="of a feature map over positions: mean, maximum, or the share that is not "
        "zero; of several, each one is stored, and the measures are of the first",
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="on disk")
    codec: Literal["lz4", "lz4-bitshuffle", "zstd", "none"] = Field(
        "lz4",
        description="how the numbers are compressed on disk; docs/codecs.md has sizes and speeds",
    )
    batch_size: PositiveInt | None = Field(
        None, description="samples a forward pass; as many as caches hold if null"
    )
    limit_gb: PositiveFloat = Field(
        100.0, description="a recording that would write more than this is refused"
    )
    parts: PositiveInt = Field(
        1, description="jobs that share the recording of a network; it gives the same numbers"
    )
    maps: MapSpec | None = Field(
        None, description="feature maps that are kept whole for some samples; none if null"
    )

    @model_validator(mode="after")
    def _each_once(self) -> "ActivationSpec":
        if len(set(self.reductions)) < len(self.reductions):
            raise ValueError(f"reduce must name each reduction once, but is {self.reductions}")
        return self

    @model_validator(mode="after")
    def _maps_of_recorded_layers(self) -> "ActivationSpec":
        if self.maps and isinstance(self.maps.layers, tuple) and isinstance(self.layers, tuple):
            others = [name for name in self.maps.layers if name not in self.layers]
            if others:
                raise ValueError(
                    f"maps.layers must be among layers, which do not name '{others[0]}'"
                )
        return self

    @property
    def reductions(self) -> tuple[str, ...]:
        """All reductions, the one that is measured first."""
        return (self.reduce,) if isinstance(self.reduce, str) else self.reduce


class StatisticsSpec(Strict):
    """How the class statistics are computed."""

    fine_bins: Annotated[int, Field(ge=2)] = Field(
        128, description="equal bins of a unit's activation between its extremes, beside zero's own"
    )


class MeasureSpec(Strict):
    """How the measures of a unit are computed from its class statistics."""

    needs_measures: ClassVar[bool] = True

    split: Split = Field("test", description="split for selectivity and mutual information")
    rest: Literal["classes", "samples"] = Field(
        "classes", description="mu_rest: mean of the other classes' means, or over their samples"
    )
    bins: PositiveInt | None = Field(
        None,
        description="bins of nearly equal counts, beside zero's own, for mutual information; "
        "null: chosen for each unit by its samples",
    )
    checkpoints: bool = Field(default=False, description="measure the kept epochs as well")


class PrincipalComponentsSpec(Strict):
    """How the principal components of every recorded layer are computed."""

    split: Split = Field("train", description="split whose activations they are of")
    components: PositiveInt | None = Field(
        None, description="most components of a layer, by variance; as many as units if null"
    )
    checkpoints: bool = Field(default=False, description="measure the kept epochs as well")


class MeasurementSpec(Strict):
    """What is measured on every network; a null section is left out.

    Where measures and principal components are both null, networks are not recorded.
    """

    activations: ActivationSpec = ActivationSpec()
    statistics: StatisticsSpec = StatisticsSpec()
    measures: MeasureSpec | None = MeasureSpec()
    principal_components: PrincipalComponentsSpec | None = None
    unit_ablation: UnitAblationSpec | None = UnitAblationSpec()
    cumulative_ablation: CumulativeAblationSpec | None = CumulativeAblationSpec()
    noise_robustness: NoiseRobustnessSpec | None = NoiseRobustnessSpec()

    def uses(self, section: str) -> bool:
        """Tell whether anything is done as a section says."""
        if section == "activations":
            return self.measures is not None or self.principal_components is not None
        if section == "statistics":
            return self.measures is not None
        return getattr(self, section) is not None

    @model_validator(mode="after")
    def _measures_where_needed(self) -> "MeasurementSpec":
        if self.measures is not None:
            return self
        for name in ("unit_ablation", "cumulative_ablation", "noise_robustness"):
            section = getattr(self, name)
            if section is not None and section.needs_measures:
                raise ValueError(
                    f"measures must not be null where {name} needs them (for the noise's scale, "
                    f"means or orders); set {name} to null as well, or measures to {{}}"
                )
        return self

    @model_validator(mode="after")
    def _recorded_where_needed(self) -> "MeasurementSpec":
        if self.noise_robustness is not None and self.activations.layers is not None:
            raise ValueError(
                "activations.layers must be null where noise_robustness is measured: the noise on "
                "every unit is scaled by its recorded variance"
            )
        ablations = {
            "unit_ablation": self.unit_ablation,
            "cumulative_ablation": self.cumulative_ablation,
        }
        for name, ablation in ablations.items():
            to_mean = ablation is not None and ablation.to_mean
            if to_mean and self.activations.reductions[0] != "mean":
                raise ValueError(
                    f"activations.reduce must be mean where {name}.value is mean: units are "
                    "clamped to the mean of what is recorded"
                )
        return self

    @model_validator(mode="after")
    def _components_where_needed(self) -> "MeasurementSpec":
        curve, components = self.cumulative_ablation, self.principal_components
        if curve is None or not curve.needs_components:
            return self
        if components is None:
            raise ValueError(
                "principal_components must not be null where cumulative_ablation.basis is "
                "principal_components; {} computes them with the defaults"
            )
        if curve.checkpoints and not components.checkpoints:
            raise ValueError(
                "principal_components.checkpoints must be true where "
                "cumulative_ablation.checkpoints is and its basis is principal_components"
            )
        other_bases = any(basis != "principal_components" for _, basis in curve.variants)
        if other_bases and components.components is not None:
            raise ValueError(
                "principal_components.components must be null where cumulative_ablation has curves "
                "along other bases beside them: all of one file ablate equally many directions"
            )
        recorded = self.activations.layers
        if other_bases and curve.layers is None and recorded is not None:
            raise ValueError(
                "cumulative_ablation.layers must be given where activations.layers is and some of "
                "its curves, but not all, are along principal components of what is recorded"
            )
        if isinstance(recorded, tuple) and isinstance(curve.layers, tuple):
            lacking = [layer for layer in curve.layers if layer not in recorded]
            if lacking:
                raise ValueError(
                    f"activations.layers must have '{lacking[0]}' of cumulative_ablation.layers "
                    "where its basis is principal_components: they are of what is recorded"
                )
        return self
