"""The whole configuration: experiments, measurements, figures."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from unitlens.config.base import Strict
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec, ModelSpec, TrainingSpec
from unitlens.config.paper import OVER_EPOCHS, PAPER_NEEDS, PaperGroup
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
    paper: dict[PaperGroup, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="group of the paper's results to the experiments that are set beside them",
    )
    only: tuple[str, ...] | None = Field(
        None, min_length=1, description="experiments that are run and shown; all of them if null"
    )

    @model_validator(mode="after")
    def _known_experiments(self) -> "Config":
        named = [(f"figures.{key}", names) for key, names in self.figures.items()]
        named += [(f"paper.{key}", names) for key, names in self.paper.items()]
        for key, names in (*named, ("only", self.only or ())):
            for name in names:
                if name not in self.experiments:
                    raise ValueError(
                        f"{key} names the experiment '{name}', which does not exist; "
                        f"{nearest(name, self.experiments)}"
                    )
        return self

    @model_validator(mode="after")
    def _what_is_shown_is_measured(self) -> "Config":
        for figure, experiments in self.figures.items():
            if figure in _NEEDED:
                over = figure == "auc_over_training"
                self._need(f"figures.{figure}", experiments, _NEEDED[figure], over_epochs=over)
        for group, experiments in self.paper.items():
            for section in PAPER_NEEDS[group]:
                over = group in OVER_EPOCHS
                self._need(f"paper.{group}", experiments, section, over_epochs=over)
        return self

    def _need(
        self, key: str, experiments: tuple[str, ...], section: str, *, over_epochs: bool
    ) -> None:
        for name in experiments:
            settings = getattr(self.measurements_of(name), section)
            if settings is None:
                raise ValueError(
                    f"{key} needs measurements.{section}, which is null for the experiment "
                    f"'{name}'; measure it, or leave {key} out"
                )
            if over_epochs and not settings.checkpoints:
                raise ValueError(
                    f"{key} needs measurements.{section}.checkpoints: true for the experiment "
                    f"'{name}', so that the epochs are measured that training.checkpoints keeps"
                )

    def narrowed(self) -> "Config":
        """Return the configuration of the experiments in `only`, and of what shows them."""
        if self.only is None:
            return self
        keep = set(self.only)
        shown = {
            section: {
                key: tuple(name for name in names if name in keep)
                for key, names in getattr(self, section).items()
                if keep & set(names)
            }
            for section in ("figures", "paper")
        }
        experiments = {name: of for name, of in self.experiments.items() if name in keep}
        return self.model_copy(update={"experiments": experiments, "only": None, **shown})

    def measurements_of(self, experiment: str) -> MeasurementSpec:
        """Return how the networks of an experiment are measured."""
        override = self.experiments[experiment].measurements
        return experiment_settings(self.measurements, override, experiment)
