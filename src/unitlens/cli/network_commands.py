"""The subcommand that does all steps of a small network in one process."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from unitlens.cli.analysis_commands import class_statistics, unit_measures
from unitlens.cli.finished_steps import FinishedSteps
from unitlens.cli.job import Gpu, Gres, Log, Threads, open_log
from unitlens.cli.located_stores import recorded_at_location
from unitlens.cli.opening import Network, Prepared
from unitlens.cli.perturbation_commands import (
    cumulative_ablation,
    noise_robustness,
    unit_ablation,
)
from unitlens.cli.recording_commands import record_activations
from unitlens.provenance.file_provenance import FileProvenance

logger = logging.getLogger("unitlens")

_WITH_NETWORK: dict[str, Callable[..., None]] = {
    "record_activations": recorded_at_location(record_activations),
    "unit_ablation": unit_ablation,
    "cumulative_ablation": cumulative_ablation,
    "noise_robustness": noise_robustness,
}


def measure_network(
    dataset: Prepared,
    network: Network,
    *,
    steps: Annotated[str, typer.Option(help="Step to its settings, site and code, as JSON.")],
    threads: Threads = 1,
    gpu: Gpu = 0,
    gres: Gres = "",
    log: Log = None,
) -> None:
    """Do those steps of a network whose files are missing or do not fit, in their order."""
    open_log(log)
    wanted: dict[str, dict[str, Any]] = json.loads(steps)
    finished = FinishedSteps(
        network,
        {
            step: FileProvenance(step, values["settings"], values["code"])
            for step, values in wanted.items()
        },
    )
    on_device = {"threads": threads, "gpu": gpu, "gres": gres}
    for step, values in wanted.items():
        if finished.is_finished(step):
            logger.info("%s: its files fit", step)
            continue
        logger.info("%s begins", step)
        _step(step, dataset, network, on_device)(
            settings=json.dumps(values["settings"]), code=values["code"], **_site(step, values)
        )
        finished.keep(step)
    finished.remove_copies()


def _step(
    step: str, dataset: Path, network: Path, on_device: dict[str, Any]
) -> Callable[..., None]:
    """Return the subcommand of a step, which lacks the settings."""
    if step in _WITH_NETWORK:
        return partial(_WITH_NETWORK[step], dataset=dataset, network=network, **on_device)
    if step == "class_statistics":
        return partial(class_statistics, str(network), threads=on_device["threads"])
    return partial(unit_measures, str(network))


def _site(step: str, values: dict[str, Any]) -> dict[str, str]:
    return {"site": json.dumps(values["site"])} if step in _WITH_NETWORK else {}


COMMANDS = (measure_network,)
