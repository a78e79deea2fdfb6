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
# What a figure cannot be drawn without, beside the measures, which are always there.
_NEEDED = {
    "memorisation_ablation": "cumulative_ablation",
    "memorisation_noise": "noise_robustness",
    "dropout_ablation": "cumulative_ablation",
    "batch_norm_ablation": "cumulative_ablation",
    "selectivity_importance": "unit_ablation",
    "auc_test_accuracy": "cumulative_ablation",
    "auc_over_training": "cumulative_ablation",
}


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
    def _figures_of_measurements(self) -> "Config":
        for figure, experiments in self.figures.items():
            needed = _NEEDED.get(figure)
            if needed is None:
                continue
            for name in experiments:
                settings = getattr(self.measurements_of(name), needed)
                if settings is None:
                    raise ValueError(
                        f"figures.{figure} needs measurements.{needed}, which is null for the "
                        f"experiment '{name}'; measure it, or leave the figure out"
                    )
                if figure == "auc_over_training" and not settings.checkpoints:
                    raise ValueError(
                        f"figures.{figure} needs measurements.{needed}.checkpoints: true for the "
                        f"experiment '{name}', so that the epochs are measured that "
                        "training.checkpoints keeps"
                    )
        return self

    def measurements_of(self, experiment: str) -> MeasurementSpec:
        """Return how the networks of an experiment are measured."""
        override = self.experiments[experiment].measurements
        return experiment_settings(self.measurements, override, experiment)
