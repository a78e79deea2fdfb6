"""The whole configuration: experiments, measurements, figures."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from unitlens.config.base import Strict
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec, ModelSpec, TrainingSpec
from unitlens.config.settings import experiment_settings
from unitlens.errors import nearest

FigureName = Literal[
    "memorisation_ablation",
    "memorisation_noise",
    "dropout_ablation",
    "batch_norm_ablation",
    "batch_norm_selectivity",
    "batch_norm_information",
    "selectivity_importance",
    "selectivity_l1_norm",
    "auc_test_accuracy",
    "auc_over_training",
    "selectivity_depth",
]
FIGURES: tuple[str, ...] = get_args(FigureName)
# What a figure cannot be drawn without.
_NEEDED: dict[str, tuple[str, ...]] = {
    "memorisation_ablation": ("cumulative_ablation",),
    "memorisation_noise": ("noise_robustness",),
    "dropout_ablation": ("cumulative_ablation",),
    "batch_norm_ablation": ("cumulative_ablation",),
    "batch_norm_selectivity": ("measures",),
    "batch_norm_information": ("measures",),
    "selectivity_importance": ("measures", "unit_ablation"),
    "selectivity_l1_norm": ("measures",),
    "auc_test_accuracy": ("cumulative_ablation",),
    "auc_over_training": ("cumulative_ablation",),
    "selectivity_depth": ("measures",),
}
# Of these, what must be measured at the kept epochs as well.
_NEEDED_KEPT = {"auc_over_training": ("cumulative_ablation",)}


class ExperimentSpec(Strict):
    """A family of networks: what they share, what is swept over, and their seeds."""

    dataset: DatasetSpec
    model: ModelSpec
    training: TrainingSpec | None = None
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="dotted key to its values (dataset.corruption: [0, 1]); all combinations",
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one network for each")
    measurements: dict[str, dict[str, Any] | None] = Field(
        default_factory=dict,
        description="what differs for these networks: section of the file's measurements to the "
        "keys that replace its own; a section that is null is left out",
    )


class Config(Strict):
    """A whole configuration file."""

    results: str = Field("results", description="directory of everything that is made")
    data: str = Field("data", description="directory from which data sets are read")
    download: bool = Field(default=False, description="whether data sets may be downloaded")
    experiments: dict[str, ExperimentSpec] = Field(min_length=1)
    measurements: MeasurementSpec = MeasurementSpec()
    figures: dict[FigureName, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="figure to the experiments it shows"
    )

    @model_validator(mode="after")
    def _figures_of_experiments(self) -> "Config":
        for figure, names in self.figures.items():
            for name in names:
                if name not in self.experiments:
                    raise ValueError(
                        f"figures.{figure} names the experiment '{name}', which does not exist; "
                        f"{nearest(name, self.experiments)}"
                    )
        return self

    @model_validator(mode="after")
    def _one_main_curve(self) -> "Config":
        first = ""
        for name in self.experiments:
            curves = self.measurements_of(name).cumulative_ablation
            if curves is None:
                continue
            found = curves.variants[0]
            if not first:
                first, wanted = name, found
            if found != wanted:
                raise ValueError(
                    f"experiments.{name} has cumulative_ablation along {found[1]} clamped to "
                    f"{found[0]}, but {first} along {wanted[1]} clamped to {wanted[0]}: the main "
                    "curves of all stand in one table and must be alike; name others in `also`"
                )
        return self

    @model_validator(mode="after")
    def _figures_of_measurements(self) -> "Config":
        for figure, experiments in self.figures.items():
            for name in experiments:
                settings = self.measurements_of(name)
                for section in _NEEDED.get(figure, ()):
                    kept = section in _NEEDED_KEPT.get(figure, ())
                    _check_needed(settings, section, f"figures.{figure}", name, kept=kept)
        return self

    def measurements_of(self, experiment: str) -> MeasurementSpec:
        """Return how the networks of an experiment are measured."""
        override = self.experiments[experiment].measurements
        return experiment_settings(self.measurements, override, experiment)


def _check_needed(
    settings: MeasurementSpec, section: str, figure: str, experiment: str, *, kept: bool
) -> None:
    """Refuse a figure whose experiment lacks what it shows."""
    found = getattr(settings, section)
    if found is None:
        raise ValueError(
            f"{figure} needs measurements.{section}, which is null for the experiment "
            f"'{experiment}'; measure it, or leave the figure out"
        )
    if kept and not found.checkpoints:
        raise ValueError(
            f"{figure} needs measurements.{section}.checkpoints: true for the experiment "
            f"'{experiment}', so that the epochs are measured that training.checkpoints keeps"
        )
