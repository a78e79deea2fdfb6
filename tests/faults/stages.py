"""A tiny workflow as a list of subcommands, as the rules of Snakemake call them."""

import json
import os
from dataclasses import dataclass, replace
from functools import cache

from faults.readers import STORES, TABLES
from unitlens.config.reading import parse_config
from unitlens.config.runs import dataset_name
from unitlens.hashed_files import write_json
from unitlens.planning.network_steps import step_code
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_file import plan_values
from unitlens.planning.stale_files import find_stale
from unitlens.provenance.digests import code_digest
from unitlens.provenance.user_source import user_code_digest

# Whether every fault is met, or the share of them that runs with the other tests.
ALL = os.environ.get("UNITLENS_FAULTS") == "all"

MEASUREMENTS = {
    "activations": {"batch_size": 32},
    "principal_components": {"checkpoints": True},
    "unit_ablation": {"samples": 30},
    "cumulative_ablation": {
        "samples": 30,
        "orders": 2,
        "points": 3,
        "checkpoints": True,
        "by": ["selectivity"],
        "also": [{"basis": "principal_components"}],
    },
    "noise_robustness": {
        "samples": 30,
        "draws": 2,
        "scales": {"minimum": 0.1, "maximum": 4, "points": 3},
    },
}
# The same networks, measured otherwise.
OTHER_MEASUREMENTS = {
    "activations": {"batch_size": 32, "dtype": "float16"},
    "statistics": {"fine_bins": 64},
    "measures": {"split": "train"},
    "principal_components": {"components": 2, "checkpoints": True},
    "unit_ablation": {"samples": 40},
    "cumulative_ablation": {"samples": 40, "orders": 3, "points": 3, "checkpoints": True},
    "noise_robustness": {
        "samples": 40,
        "draws": 2,
        "scales": {"minimum": 0.2, "maximum": 4, "points": 3},
    },
}
CONFIG = {
    "results": "results",
    "experiments": {
        "memo": {
            "dataset": {"name": "digits", "train_samples": 60, "test_samples": 40},
            "model": {"name": "mlp", "widths": [5, 4]},
            "training": {
                "epochs": 2,
                "learning_rate": 0.05,
                "batch_size": 20,
                "checkpoints": [1],
            },
            "sweep": {"dataset.corruption": [0, 1]} if ALL else {},
            "seeds": [1],
        }
    },
    "measurements": MEASUREMENTS,
    "figures": {
        "auc_over_training": ["memo"],
        **({"memorisation_ablation": ["memo"]} if ALL else {}),
    },
    "paper": {"mnist_ablation": ["memo"]},
}

SPLITS = ("train", "test")
OF_NETWORK = (
    "class-statistics",
    "unit-measures",
    "principal-components",
    "unit-ablation",
    "cumulative-ablation",
    "noise-robustness",
)
_LEFT_OUT = (
    "measures",
    "principal_components",
    "unit_ablation",
    "cumulative_ablation",
    "noise_robustness",
)
OF_ALL = ("tabulate", "draw-figures", "compare-with-paper", "write-report")


@dataclass(frozen=True)
class Stage:
    """A subcommand, once for the whole workflow or once for a network.

    Attributes
    ----------
    name
        Name of the subcommand.
    network
        The network, empty for all together.
    outputs
        What the stage writes, by the names of ``readers.read_folder``.
    arguments
        What the command line says.
    declared
        Files that Snakemake removes before it runs the stage, where the stage would otherwise
        refuse to replace them.
    """

    name: str
    network: str
    outputs: tuple
    arguments: tuple
    declared: tuple = ()

    def __str__(self):
        return f"{self.name} {self.network}".strip()


@cache
def digest(command):
    """Return the digest of the code of a subcommand."""
    return code_digest(command)


class Workflow:
    """The stages of one configuration, in the order in which they can run.

    Parameters
    ----------
    measurements
        The measurements.
    parts
        Number of parts in which activations are recorded and units are ablated; 1 does it whole.
    **config
        Further keys of the configuration.
    """

    def __init__(self, measurements=None, *, parts=1, **config):
        self.config = {**CONFIG, "measurements": measurements or MEASUREMENTS, **config}
        self.plan = make_plan(parse_config(self.config))
        self._parts = parts

    @property
    def user_code(self):
        """The digest of the user's code that builds the networks."""
        return user_code_digest(next(iter(self.plan.runs.values())).spec.model.name)

    @property
    def networks(self):
        """Names of the networks; that of a kept epoch holds a slash."""
        return self.plan.networks

    def stages(self):
        """Return all stages."""
        plan = self.plan
        found = [self._prepare(name) for name in plan.datasets]
        found += [self._train(run) for run in plan.runs]
        for network in plan.recorded():
            found += self._record(network)
        for step in OF_NETWORK:
            named = step.replace("-", "_")
            summarises = step in ("class-statistics", "unit-measures")
            networks = plan.summarised() if summarises else plan.measured(named)
            in_parts = self._parts > 1 and named == "unit_ablation"
            for network in networks:
                if in_parts:
                    found += self._in_parts(named, network)
                else:
                    found.append(self._step(named, network))
        return [*found, *self._of_all()]

    def write_plan(self, directory):
        """Write the plan of the workflow, which is no subcommand."""
        (directory / "results").mkdir(exist_ok=True)
        write_json(directory / "results/plan.json", plan_values(self.plan))

    def _dataset(self, network):
        name = dataset_name(self.plan.run_of(network).spec.dataset)
        return f"results/datasets/{name}/dataset.json"

    def _prepare(self, name):
        spec = {**self.plan.datasets[name].model_dump(mode="json"), "corruption": 0.0}
        outputs = (f"datasets/{name}/train", f"datasets/{name}/test")
        path = f"results/datasets/{name}/dataset.json"
        code = ("--code", digest("prepare_dataset"))
        return _stage("prepare-dataset", "", outputs, "--spec", json.dumps(spec), *code, path)

    def _train(self, run):
        spec = json.dumps(self.plan.runs[run].spec.model_dump(mode="json"))
        code = ("--code", step_code("train"), "--user-code", self.user_code)
        places = (self._dataset(run), f"results/{run}/checkpoint.json")
        epochs = self.plan.runs[run].spec.training.checkpoints
        kept = tuple(f"{run}/epoch-{epoch:04d}/checkpoint" for epoch in epochs)
        outputs = (f"{run}/checkpoint", *kept, f"{run}/history")
        return _stage("train", run, outputs, "--spec", spec, *code, *places)

    def _record(self, network):
        section = self.plan.settings_of(network).activations
        settings = ("--settings", json.dumps(section.content()))
        code = ("--code", step_code("record_activations"))
        site = ("--site", json.dumps(section.site()))
        places = (self._dataset(network), f"results/{network}")
        outputs = tuple(f"{network}/{kind}" for kind in (*STORES, "l1_norm"))
        declared = tuple(f"results/{network}/{split}/activations.json" for split in SPLITS)
        if self._parts == 1:
            whole = (*settings, *site, *code, *places)
            recorded = _stage("record-activations", network, outputs, *whole)
            return [replace(recorded, declared=declared)]
        stages = []
        for part in range(1, self._parts + 1):
            number = ("--part", str(part), "--of", str(self._parts))
            path = f"{network}/parts/{part}-of-{self._parts}.json"
            rest = (*number, *settings, *site, *code, *places, f"results/{path}")
            stages.append(_stage("record-part", network, (), *rest))
        merged = _stage("merge-activations", network, outputs, *settings, *code, *places)
        return [*stages, replace(merged, declared=declared)]

    def _step(self, step, network):
        section = getattr(self.plan.settings_of(network), _section(step))
        arguments = ("--settings", json.dumps(section.content()), "--code", step_code(step))
        places = (f"results/{network}",)
        if step in ("unit_ablation", "cumulative_ablation", "noise_robustness"):
            places = (self._dataset(network), *places)
        names = {"class_statistics": ("train/class_statistics", "test/class_statistics")}
        outputs = tuple(f"{network}/{name}" for name in names.get(step, (step,)))
        return _stage(step.replace("_", "-"), network, outputs, *arguments, *places)

    def _in_parts(self, step, network):
        section = getattr(self.plan.settings_of(network), _section(step))
        named = ("--perturbation", step, "--settings", json.dumps(section.content()))
        named = (*named, "--code", step_code(step))
        stages, paths = [], []
        for part in range(1, self._parts + 1):
            number = ("--part", str(part), "--of", str(self._parts))
            paths.append(f"results/{network}/parts/{step}/{part}-of-{self._parts}.nc")
            places = (self._dataset(network), f"results/{network}", paths[-1])
            stages.append(_stage("perturb-part", network, (), *named, *number, *places))
        places = (f"results/{network}", *paths)
        return [*stages, _stage("merge-tables", network, (f"{network}/{step}",), *named, *places)]

    def _of_all(self):
        config = self.plan.config
        tables = (*TABLES, *(f"checkpoints/{name}" for name in TABLES[:-1]))
        outputs = tuple(f"tables/{name}" for name in tables)
        code = ("--code", digest("tabulate"))
        paths = ("--plan", "results/plan.json")
        yield _stage("tabulate", "", outputs, *paths, *code, "results/tables.json")
        if not config.figures:
            return
        pictures = tuple(f"figures/{name}.svg" for name in config.figures)
        figures = ("--figures", json.dumps(config.figures))
        places = ("results", "results/figures/figures.json")
        yield _stage("draw-figures", "", pictures, *figures, *places)
        claims = ("--claims", json.dumps(config.paper))
        pages = ("paper.csv", "paper.md", "beyond.md")
        yield _stage("compare-with-paper", "", pages, *claims, "results", "results/paper.csv")
        paper = ("--paper", "results/paper.csv")
        page = ("results", "results/report.html")
        yield _stage("write-report", "", ("report.html",), *paper, *page)


def with_few_tables():
    """Return a workflow that measures nothing: tabulate writes least, and all faults are met."""
    left_out = dict.fromkeys(_LEFT_OUT)
    experiment = {**CONFIG["experiments"]["memo"], "sweep": {}}
    experiments = {"memo": experiment}
    measurements = {"activations": {"batch_size": 32}, **left_out}
    return Workflow(measurements, experiments=experiments, figures={}, paper={})


def stale_files(config):
    """Return the files in the current directory that do not fit a configuration."""
    return find_stale(make_plan(parse_config(config)))


def run_stage(server, directory, stage, *, fault=None):
    """Run a stage as Snakemake does."""
    for name in stage.declared:
        (directory / name).unlink(missing_ok=True)
    return server.run(directory, stage.arguments, fault=fault)


def _section(step):
    return {"class_statistics": "statistics", "unit_measures": "measures"}.get(step, step)


def _stage(name, network, outputs, *arguments):
    # The log lies beside the results: it is for a person, and nothing is read from it.
    return Stage(name, network, outputs, (name, "--log", f"logs/{name}.log", *arguments))
