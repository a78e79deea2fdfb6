"""Sections of the measurements: recording, statistics, measures, and all of them together."""

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

from unitlens.config.base import (
    FunctionSettings,
    KeptEpochs,
    LayerChoice,
    LoadingProcesses,
    Split,
    Strict,
    repeated,
    unnamed,
)
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.config.recorded_layers import not_recorded

PERTURBATIONS = ("unit_ablation", "cumulative_ablation", "noise_robustness")
# Section of the measurements to the stem of the file that it makes of each network.
MEASUREMENT_FILES = {"measures": "unit_measures"} | {name: name for name in PERTURBATIONS}

ONE_OR_SEVERAL = Discriminator(
    lambda value: "several" if isinstance(value, list | tuple) else "one"
)
Reduction = Literal["mean", "max", "active"]
Reductions = Annotated[
    Annotated[Reduction, Tag("one")]
    | Annotated[tuple[Reduction, ...], Field(min_length=1), Tag("several")],
    ONE_OR_SEVERAL,
]


class MapSpec(Strict):
    """Feature maps that are kept whole, beside their reductions."""

    layers: LayerChoice = Field(
        None,
        description="names of recorded layers; {last: n}: the last n layers with feature maps; "
        "null: all layers with feature maps",
    )
    samples: Annotated[
        Annotated[PositiveInt, Tag("one")]
        | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), Tag("several")],
        ONE_OR_SEVERAL,
    ] = Field(
        description="number of samples of each split, which are the same for every network; or "
        "sample numbers, from 0",
    )

    @field_validator("samples")
    @classmethod
    def _each_once(cls, samples: int | tuple[int, ...]) -> int | tuple[int, ...]:
        again = repeated(samples) if isinstance(samples, tuple) else []
        if again:
            raise ValueError(f"must name each sample once, but sample {again[0]} is named again")
        return samples


class ActivationSpec(FunctionSettings):
    """How activations are recorded."""

    workflow_keys: ClassVar = frozenset({"parts", "location"})
    site_keys: ClassVar = frozenset({"batch_size", "workers", "limit_gb", "parts", "location"})
    later_keys: ClassVar = frozenset({"location"})

    layers: LayerChoice = None
    reduce: Reductions = Field(
        "mean",
        description="reduction of a feature map over its positions: mean, maximum, or share of "
        "positions that are not zero (active); of a list all reductions are stored, and measures "
        "are computed from the first",
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="dtype on disk")
    codec: Literal["lz4", "lz4-bitshuffle", "zstd", "none"] = Field(
        "lz4",
        description="compression on disk; docs/codecs.md compares sizes and speeds",
    )
    batch_size: PositiveInt | None = Field(
        None, description="samples of a forward pass; null: as many as caches hold"
    )
    workers: LoadingProcesses = 0
    limit_gb: PositiveFloat = Field(
        100.0,
        description="most gigabytes of a recording, before compression; a larger one is refused",
    )
    parts: PositiveInt = Field(
        1,
        description="number of jobs that share the recording of a network; results do not change",
    )
    maps: MapSpec | None = Field(
        None, description="feature maps that are kept whole for some samples; null: none"
    )
    location: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="folder or URL, such as s3://bucket/activations, of the stores of activations; "
        "finished stores stay where they are; null: beside the other results of their network",
    )

    @model_validator(mode="after")
    def _each_once(self) -> "ActivationSpec":
        if repeated(self.reductions):
            raise ValueError(f"reduce must name each reduction once, but is {self.reductions}")
        return self

    @model_validator(mode="after")
    def _maps_of_recorded_layers(self) -> "ActivationSpec":
        if self.maps and isinstance(self.maps.layers, tuple) and isinstance(self.layers, tuple):
            missing = unnamed(self.maps.layers, self.layers)
            if missing:
                raise ValueError(
                    f"maps.layers must be among layers, which do not name '{missing[0]}'; only "
                    "recorded layers have maps"
                )
        return self

    @property
    def reductions(self) -> tuple[str, ...]:
        """All reductions. The measures are of the first one."""
        return (self.reduce,) if isinstance(self.reduce, str) else self.reduce


class StatisticsSpec(FunctionSettings):
    """How class statistics are computed."""

    fine_bins: Annotated[int, Field(ge=2)] = Field(
        128,
        description="bins between the extremes of a unit's activation, beside the bin of zero: of "
        "equal width, or about equally filled where those would be crowded",
    )


class MeasureSpec(FunctionSettings):
    """How unit measures are computed from class statistics."""

    workflow_keys: ClassVar = frozenset({"split", "checkpoints"})
    needs_measures: ClassVar[bool] = True

    split: Split = Field("test", description="split of selectivity and mutual information")
    rest: Literal["classes", "samples"] = Field(
        "classes",
        description="mu_rest of selectivity: mean of the other classes' means, or of their samples",
    )
    bins: PositiveInt | None = Field(
        None,
        description="bins of nearly equal counts for mutual information, beside the bin of zero; "
        "null: computed for each unit from its samples",
    )
    checkpoints: KeptEpochs = False


class PrincipalComponentsSpec(FunctionSettings):
    """How the principal components of each recorded layer are computed."""

    workflow_keys: ClassVar = frozenset({"split", "checkpoints"})

    split: Split = Field("train", description="split of the activations")
    components: PositiveInt | None = Field(
        None, description="most components of a layer, by variance; null: as many as units"
    )
    checkpoints: KeptEpochs = False


class MeasurementSpec(Strict):
    """The measurements of every network; a null section is left out.

    Networks are recorded unless measures and principal components are both null.
    """

    activations: ActivationSpec = ActivationSpec()
    statistics: StatisticsSpec = StatisticsSpec()
    measures: MeasureSpec | None = MeasureSpec()
    principal_components: PrincipalComponentsSpec | None = None
    unit_ablation: UnitAblationSpec | None = UnitAblationSpec()
    cumulative_ablation: CumulativeAblationSpec | None = CumulativeAblationSpec()
    noise_robustness: NoiseRobustnessSpec | None = NoiseRobustnessSpec()

    def uses(self, section: str) -> bool:
        """Tell whether any job reads a section."""
        if section == "activations":
            return self.measures is not None or self.principal_components is not None
        if section == "statistics":
            return self.measures is not None
        return getattr(self, section) is not None

    @model_validator(mode="after")
    def _measures_where_needed(self) -> "MeasurementSpec":
        if self.measures is not None:
            return self
        for name in PERTURBATIONS:
            section = getattr(self, name)
            if section is not None and section.needs_measures:
                raise ValueError(
                    f"measures must not be null where {name} needs measures (for the scale of the "
                    f"noise, means or orders); set {name} to null as well, or measures to {{}}"
                )
        return self

    @model_validator(mode="after")
    def _recorded_where_needed(self) -> "MeasurementSpec":
        ablations = {
            "unit_ablation": self.unit_ablation,
            "cumulative_ablation": self.cumulative_ablation,
        }
        for name, section in {**ablations, "noise_robustness": self.noise_robustness}.items():
            if section is None or not section.needs_measures:
                continue
            missing = not_recorded(section.layers, self.activations.layers)
            if missing:
                raise ValueError(
                    f"activations.layers must have {missing} of {name}.layers: {name} needs the "
                    "measures of its units, which are of recorded layers alone; name the same "
                    f"layers in both, or set {name} to null"
                )
        for name, ablation in ablations.items():
            to_mean = ablation is not None and ablation.to_mean
            if to_mean and self.activations.reductions[0] != "mean":
                raise ValueError(
                    f"activations.reduce must be mean where {name}.value is mean: units are "
                    "clamped to the mean of the recorded activations; name mean first"
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
                "principal_components; {} computes principal components with the defaults"
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
                "along other bases too: all curves of a file ablate equally many directions"
            )
        recorded = self.activations.layers
        if other_bases and curve.layers is None and recorded is not None:
            raise ValueError(
                "cumulative_ablation.layers must be given where activations.layers is given and "
                "only some curves are along principal components; name recorded layers"
            )
        if isinstance(recorded, tuple) and isinstance(curve.layers, tuple):
            missing = unnamed(curve.layers, recorded)
            if missing:
                raise ValueError(
                    f"activations.layers must have '{missing[0]}' of cumulative_ablation.layers "
                    "where its basis is principal_components: only recorded layers have components"
                )
        return self
