"""The whole configuration: experiments, measurements, figures."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from unitlens.catalogue.comparisons import COMPARISONS, ComparisonName
from unitlens.catalogue.figures import FIGURES
from unitlens.config.base import Strict
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.names import check_directory, check_name
from unitlens.config.networks import DatasetSpec, ModelSpec, TrainingSpec
from unitlens.config.overrides import experiment_settings
from unitlens.config.perturbation import CumulativeAblationSpec
from unitlens.errors import nearest, shown

if TYPE_CHECKING:
    FigureName = str
else:
    FigureName = Literal[*FIGURES]


class ExperimentSpec(Strict):
    """A family of networks: their common settings, the swept settings and the seeds."""

    dataset: DatasetSpec
    model: ModelSpec
    training: TrainingSpec | None = None
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="dotted key to its values (dataset.corruption: [0, 1]); there are networks for "
        "each combination of values",
    )
    exclude: tuple[Annotated[dict[str, Any], Field(min_length=1)], ...] = Field(
        (),
        description="combinations that are left out of the sweep: a network is left out where all "
        "keys of an entry have their values ([{dataset.corruption: 1, seed: 2}]); the keys are "
        "swept keys, or seed",
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one network for each seed")
    measurements: dict[str, dict[str, Any] | None] = Field(
        default_factory=dict,
        description="section of the measurements to the keys that differ from the file's for these "
        "networks; a null section is left out",
    )


Directory = Annotated[str, AfterValidator(check_directory)]


class Config(Strict):
    """A configuration file."""

    results: Directory = Field("results", description="directory of all results")
    data: Directory = Field("data", description="directory from which data sets are read")
    download: bool = Field(default=False, description="whether data sets may be downloaded")
    failed_runs: Literal["stop", "skip"] = Field(
        "stop",
        description="what is done with a network whose training diverges: stop ends the workflow "
        "with an error; skip leaves it out of tables and figures, with a line that says so",
    )
    experiments: dict[Annotated[str, AfterValidator(check_name)], ExperimentSpec] = Field(
        min_length=1
    )
    measurements: MeasurementSpec = MeasurementSpec()
    figures: dict[FigureName, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="figure to the experiments that it shows"
    )
    paper: dict[ComparisonName, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="group of the paper's results, or of a later question, to the experiments that "
        "are compared with it",
    )
    suspected_causes: dict[ComparisonName, Annotated[dict[str, str], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="group to extra experiments, each with a suspected cause, in words, of a "
        "difference from the paper; the results of the group are measured on each experiment",
    )
    earlier_comparisons: tuple[str, ...] = Field(
        (),
        description="files paper.csv of earlier comparisons with the paper; paper.md has an "
        "appendix of the verdicts that differ from theirs",
    )
    explorer: bool = Field(
        default=False,
        description="whether the page explorer.html is made, which report.html links: all units, "
        "and the units that matter most with the samples that they respond to; needs "
        "unitlens[explore]",
    )
    only: tuple[str, ...] | None = Field(
        None, min_length=1, description="experiments that are run and shown; null: all"
    )

    @model_validator(mode="after")
    def _known_experiments(self) -> "Config":
        named = [(f"figures.{key}", names) for key, names in self.figures.items()]
        named += [(f"{section}.{group}", names) for section, group, names in self._comparisons]
        for key, names in (*named, ("only", self.only or ())):
            for name in names:
                if name not in self.experiments:
                    raise ValueError(
                        f"{key} names the experiment {shown(name)}, which does not exist; "
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
            value, basis = curves.variants[0]
            if not first:
                first, first_value, first_basis = name, value, basis
            if (value, basis) != (first_value, first_basis):
                raise ValueError(
                    f"experiments.{name} has cumulative_ablation along {basis} clamped to "
                    f"{value}, but {first} along {first_basis} clamped to {first_value}: the main "
                    "curves of all experiments stand in one table and must be of one kind; name "
                    "other kinds in `also`"
                )
        return self

    @model_validator(mode="after")
    def _figures_of_measurements(self) -> "Config":
        for figure, experiments in self.figures.items():
            for name in experiments:
                settings = self.measurements_of(name)
                for section in FIGURES[figure].needs:
                    kept = section in FIGURES[figure].needs_kept
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
                for section in COMPARISONS[group].needs:
                    kept = COMPARISONS[group].over_epochs
                    _check_needed(settings, section, f"{key}.{group}", name, kept=kept)
        return self

    @property
    def _comparisons(self) -> list[tuple[str, ComparisonName, tuple[str, ...]]]:
        """Section, group and experiments of each comparison with the paper's results."""
        return [
            *(("paper", group, names) for group, names in self.paper.items()),
            *(
                ("suspected_causes", group, tuple(causes))
                for group, causes in self.suspected_causes.items()
            ),
        ]

    @property
    def compared(self) -> bool:
        """Whether any results are compared with the paper's."""
        return bool(self.paper or self.suspected_causes)

    def narrowed(self) -> "Config":
        """Return the configuration without the experiments that `only` leaves out."""
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
        experiments = {name: spec for name, spec in self.experiments.items() if name in keep}
        return self.model_copy(update={"experiments": experiments, "only": None, **shown})

    def measurements_of(self, experiment: str) -> MeasurementSpec:
        """Return the measurement settings of an experiment."""
        override = self.experiments[experiment].measurements
        return experiment_settings(self.measurements, override, experiment)


def _check_needed(
    settings: MeasurementSpec, section: str, key: str, experiment: str, *, kept: bool
) -> None:
    """Refuse a figure or comparison of an experiment that lacks a section of measurements."""
    measurement = getattr(settings, section)
    if measurement is None:
        raise ValueError(
            f"{key} needs measurements.{section}, which is null for the experiment "
            f"'{experiment}'; set the section, or leave the experiment out of {key}"
        )
    if kept and not measurement.checkpoints:
        raise ValueError(
            f"{key} needs measurements.{section}.checkpoints: true for the experiment "
            f"'{experiment}', so that the kept epochs (training.checkpoints) are measured too"
        )


def _check_curves(curves: CumulativeAblationSpec, figure: str, experiment: str) -> None:
    """Refuse a figure that compares several kinds of curves where an experiment has one kind."""
    values, bases = (len(set(kinds)) for kinds in zip(*curves.variants, strict=True))
    lacks = {
        "by": (not curves.by, "by", "list measures such as selectivity"),
        "value": (values < 2, "also", "list another value, such as {value: mean}"),
        "basis": (bases < 2, "also", "list another basis, such as {basis: random}"),
        None: (False, "", ""),
    }
    lacking, key, remedy = lacks[FIGURES[figure].compares]
    if lacking:
        raise ValueError(
            f"figures.{figure} needs more in measurements.cumulative_ablation.{key} of the "
            f"experiment '{experiment}'; {remedy}, or leave the figure out"
        )
