"""The whole configuration: experiments, measurements, figures."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from unitlens.config.base import Strict
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec, ModelSpec, TrainingSpec
from unitlens.config.overrides import experiment_settings
from unitlens.config.paper import OVER_EPOCHS, PAPER_NEEDS, PaperGroup
from unitlens.config.perturbation import CumulativeAblationSpec
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
    "l1_norm_importance",
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
    "l1_norm_importance": ("measures", "unit_ablation"),
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
        description="group of the paper's results, or of later questions, to the experiments that "
        "are set beside them",
    )
    suspected_causes: dict[PaperGroup, Annotated[dict[str, str], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="group to extra experiments, each with the cause of a difference from the "
        "paper that it tests, in words; the group's results are measured on each",
    )
    only: tuple[str, ...] | None = Field(
        None, min_length=1, description="experiments that are run and shown; all of them if null"
    )

    @model_validator(mode="after")
    def _known_experiments(self) -> "Config":
        named = [(f"figures.{key}", names) for key, names in self.figures.items()]
        named += [(f"{section}.{group}", names) for section, group, names in self._comparisons]
        for key, names in (*named, ("only", self.only or ())):
            for name in names:
                if name not in self.experiments:
                    raise ValueError(
                        f"{key} names the experiment '{name}', which does not exist; "
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

    @model_validator(mode="after")
    def _figures_of_curves(self) -> "Config":
        for figure, experiments in self.figures.items():
            for name in experiments:
                curves = self.measurements_of(name).cumulative_ablation
                if curves is not None:
                    _check_curves(curves, figure, name)
        return self

    @model_validator(mode="after")
    def _paper_of_measurements(self) -> "Config":
        for key, group, experiments in self._comparisons:
            for name in experiments:
                settings = self.measurements_of(name)
                for section in PAPER_NEEDS[group]:
                    kept = group in OVER_EPOCHS
                    _check_needed(settings, section, f"{key}.{group}", name, kept=kept)
        return self

    @property
    def _comparisons(self) -> list[tuple[str, PaperGroup, tuple[str, ...]]]:
        """Return section, group and experiments of all that is set beside the paper's results."""
        return [
            *(("paper", group, names) for group, names in self.paper.items()),
            *(
                ("suspected_causes", group, tuple(of))
                for group, of in self.suspected_causes.items()
            ),
        ]

    @property
    def compared(self) -> bool:
        """Whether results are set beside the paper's."""
        return bool(self.paper or self.suspected_causes)

    def narrowed(self) -> "Config":
        """Return the configuration of the experiments in `only`, and of what shows them."""
        if self.only is None:
            return self
        keep = set(self.only)
        shown: dict[str, Any] = {
            section: {
                key: tuple(name for name in names if name in keep)
                for key, names in getattr(self, section).items()
                if keep & set(names)
            }
            for section in ("figures", "paper")
        }
        shown["suspected_causes"] = {
            group: {name: text for name, text in causes.items() if name in keep}
            for group, causes in self.suspected_causes.items()
            if keep & set(causes)
        }
        experiments = {name: of for name, of in self.experiments.items() if name in keep}
        return self.model_copy(update={"experiments": experiments, "only": None, **shown})

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


def _check_curves(curves: CumulativeAblationSpec, figure: str, experiment: str) -> None:
    """Refuse a figure that compares curves of which an experiment has one kind only."""
    values, bases = (len(set(kinds)) for kinds in zip(*curves.variants, strict=True))
    lacks = {
        "measure_orders": (not curves.by, "by", "list measures such as selectivity"),
        "clamping": (values < 2, "also", "list another value, such as {value: mean}"),
        "bases": (bases < 2, "also", "list another basis, such as {basis: random}"),
    }
    lacking, key, remedy = lacks.get(figure, (False, "", ""))
    if lacking:
        raise ValueError(
            f"figures.{figure} needs more in measurements.cumulative_ablation.{key} of the "
            f"experiment '{experiment}'; {remedy}, or leave the figure out"
        )
