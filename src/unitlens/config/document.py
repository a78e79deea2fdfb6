"""The whole configuration: experiments, measurements, figures."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from unitlens.config.base import Strict
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec, ModelSpec, TrainingSpec
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
    "same_data_auc",
    "same_data_curves",
    "hyperparameter_selection",
    "early_stopping",
    "clamping",
    "bases",
    "measure_orders",
    "class_damage",
    "measure_agreement",
    "information_importance",
    "regulariser",
    "selectivity_over_training",
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
    "same_data_auc": ("cumulative_ablation",),
    "same_data_curves": ("cumulative_ablation",),
    "hyperparameter_selection": ("cumulative_ablation",),
    "early_stopping": ("cumulative_ablation",),
    "clamping": ("cumulative_ablation",),
    "bases": ("cumulative_ablation",),
    "measure_orders": ("cumulative_ablation",),
    "class_damage": ("measures", "unit_ablation"),
    "measure_agreement": ("measures",),
    "information_importance": ("measures", "unit_ablation"),
    "regulariser": ("measures", "cumulative_ablation"),
    "selectivity_over_training": ("measures", "unit_ablation"),
}
# Of these, what must be measured at the kept epochs as well.
_NEEDED_KEPT = {
    "auc_over_training": ("cumulative_ablation",),
    "early_stopping": ("cumulative_ablation",),
    "selectivity_over_training": ("measures", "unit_ablation"),
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
        for figure in self.figures:
            for section in _NEEDED.get(figure, ()):
                settings = getattr(self.measurements, section)
                if settings is None:
                    raise ValueError(
                        f"figures.{figure} needs measurements.{section}, which is null; measure "
                        "it, or leave the figure out"
                    )
                if section in _NEEDED_KEPT.get(figure, ()) and not settings.checkpoints:
                    raise ValueError(
                        f"figures.{figure} needs measurements.{section}.checkpoints: true, so that "
                        "the epochs are measured that training.checkpoints keeps"
                    )
        return self

    @model_validator(mode="after")
    def _figure_of_orders(self) -> "Config":
        curve = self.measurements.cumulative_ablation
        if "measure_orders" in self.figures and curve is not None and not curve.by:
            raise ValueError(
                "figures.measure_orders needs measurements.cumulative_ablation.by, which is empty; "
                "list measures such as selectivity, or leave the figure out"
            )
        return self
