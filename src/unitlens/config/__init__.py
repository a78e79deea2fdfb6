"""The configuration: its sections, the expansion of sweeps into runs, and run identity."""

from unitlens.config.choices import LastLayers, ValueName
from unitlens.config.document import FIGURES, Config, ExperimentSpec
from unitlens.config.measurements import (
    ActivationSpec,
    MapSpec,
    MeasurementSpec,
    MeasureSpec,
    PrincipalComponentsSpec,
    StatisticsSpec,
)
from unitlens.config.networks import (
    ConvNetSpec,
    DatasetSpec,
    MLPSpec,
    ModelSpec,
    RunSpec,
    TorchvisionSpec,
    TrainingSpec,
    UserModelSpec,
)
from unitlens.config.paper import PAPER_GROUPS
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.config.reading import parse_config, parse_section, read_config
from unitlens.config.refusal import parse_at
from unitlens.config.runs import Run, dataset_name, expand_runs, run_identity, run_name

__all__ = [
    "FIGURES",
    "PAPER_GROUPS",
    "ActivationSpec",
    "Config",
    "ConvNetSpec",
    "CumulativeAblationSpec",
    "DatasetSpec",
    "ExperimentSpec",
    "LastLayers",
    "MLPSpec",
    "MapSpec",
    "MeasureSpec",
    "MeasurementSpec",
    "ModelSpec",
    "NoiseRobustnessSpec",
    "PrincipalComponentsSpec",
    "Run",
    "RunSpec",
    "StatisticsSpec",
    "TorchvisionSpec",
    "TrainingSpec",
    "UnitAblationSpec",
    "UserModelSpec",
    "ValueName",
    "dataset_name",
    "expand_runs",
    "parse_at",
    "parse_config",
    "parse_section",
    "read_config",
    "run_identity",
    "run_name",
]
