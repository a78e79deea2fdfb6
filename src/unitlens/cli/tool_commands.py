"""Subcommands for people: what a configuration will do, which layers a model has, verification."""

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from unitlens.cli.terminal import say
from unitlens.config.base import parse_at
from unitlens.config.networks import (
    MODEL_FAMILIES,
    ModelSpec,
    TorchvisionSpec,
    UserModelSpec,
)
from unitlens.config.reading import read_config
from unitlens.errors import ArgumentError
from unitlens.planning.rates import PASSES, READ


def verify(
    store: Annotated[str, typer.Argument(help="Store, such as activations.zarr: a path or a URL.")],
) -> None:
    """Read everything of a store and name each file that is bad; exit status 1 if one is."""
    from unitlens.store.verify import verify_activations

    report = verify_activations(store)
    say(report)
    if not report.whole:
        raise typer.Exit(1)


ConfigFiles = Annotated[
    list[Path] | None,
    typer.Argument(help="Configuration file, then files that override it; config.yaml if none."),
]
RunCode = Annotated[
    bool,
    typer.Option(
        "--run-code",
        help="Run the configuration's module:function, to check and count what they return.",
    ),
]
DEFAULT = (Path("config.yaml"),)


def validate(config: ConfigFiles = None, *, run_code: RunCode = False) -> None:
    """Check a configuration and list the networks that it names. No code of its own is run."""
    from unitlens.config.swept_marks import swept_values
    from unitlens.planning.network_checks import check_networks
    from unitlens.planning.plan import make_plan
    from unitlens.planning.store_locations import check_locations

    plan = make_plan(read_config(*(config or DEFAULT)))
    unchecked = check_networks(plan, run_code=run_code)
    check_locations(plan)
    for name, run in plan.runs.items():
        sweeps = [plan.config.experiments[experiment].sweep for experiment in run.experiments]
        values = swept_values(run.spec, itertools.chain(*sweeps))
        swept = "".join(f"  {key}={json.dumps(value)}" for key, value in values.items())
        say(f"{name}  ({', '.join(run.experiments)}){swept}")
    _say_unchecked(unchecked)
    say(f"{len(plan.runs)} networks, {len(plan.kept_epochs)} kept epochs: the file holds")


def _say_unchecked(keys: Sequence[str]) -> None:
    if keys:
        say(f"not checked without --run-code: {', '.join(keys)}")


def estimate(
    config: ConfigFiles = None,
    *,
    gflops: Annotated[
        float, typer.Option(help="GFLOP/s that the machine reaches in forward passes.")
    ] = PASSES.value,
    read_mb: Annotated[
        float, typer.Option("--read-mb", help="MB/s that its disk gives.")
    ] = READ.value,
    run_code: RunCode = False,
) -> None:
    """Say what a configuration takes: jobs, bytes, files, hours, memory. No code of it is run."""
    from unitlens.planning.listing import assumptions, list_stages, list_stores
    from unitlens.planning.network_checks import check_networks, without_user_code
    from unitlens.planning.plan import make_plan
    from unitlens.planning.plan_estimate import estimate_plan

    plan = make_plan(read_config(*(config or DEFAULT)))
    unchecked = check_networks(plan, run_code=run_code)
    plan = plan if run_code else without_user_code(plan)
    if unchecked:
        say(f"{len(plan.runs)} networks are counted")
    _say_unchecked(unchecked)
    if not plan.runs:
        return
    found = estimate_plan(plan, gflops=gflops, read_mb=read_mb)
    for listing in (list_stores(found), list_stages(found)):
        if sys.stdout.isatty():
            from rich.console import Console

            Console().print(listing.rich())
        else:
            say(f"{listing.markdown()}\n")
    for line in assumptions(found):
        say(line)


def layers(
    model: Annotated[
        str, typer.Argument(help="mlp, convnet, one of torchvision's, or module:function.")
    ],
    *,
    shape: Annotated[
        str, typer.Option(help="Shape of one input, without the batch.")
    ] = "3,224,224",
    arguments: Annotated[str, typer.Option(help="Keyword arguments, as JSON.")] = "{}",
) -> None:
    """Print the layers of a model in which units live: name, units, shape."""
    import torch

    from unitlens.model.unit_listing import unit_layers
    from unitlens.training.models import build_model

    spec = _model_spec(model, arguments)
    sizes = _shape(shape)
    built = build_model(spec, input_shape=sizes, classes=1000, seed=0)
    say(unit_layers(built, torch.zeros(2, *sizes)))


def _model_spec(name: str, arguments: str) -> ModelSpec:
    try:
        values = json.loads(arguments)
    except json.JSONDecodeError as error:
        raise ArgumentError(f"--arguments {arguments!r} must be JSON: {error}") from None
    if not isinstance(values, dict):
        raise ArgumentError(f"--arguments {arguments!r} must be a JSON object of keyword arguments")
    where = ("model",)
    if name in MODEL_FAMILIES:
        return parse_at(MODEL_FAMILIES[name], {"name": name, **values}, where)
    values = {"name": name, "arguments": values}
    if ":" in name:
        return parse_at(UserModelSpec, values, where)
    return parse_at(TorchvisionSpec, values, where)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise ArgumentError(
            f"--shape {text!r} must be whole numbers between commas, such as 3,224,224"
        ) from None


def schema(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a reference to read.")] = False,
) -> None:
    """Print the JSON schema of the configuration, or its reference."""
    from unitlens.config.key_reference import config_reference, config_schema

    say(config_reference() if markdown else json.dumps(config_schema(), indent=2))


def protocol(config: ConfigFiles = None) -> None:
    """Print what a comparison with the paper fixes before networks are trained, in Markdown."""
    from unitlens.reproduction.protocol_page import protocol_page

    say(protocol_page(read_config(*(config or DEFAULT))).rstrip())


COMMANDS = (validate, estimate, layers, schema, protocol, verify)
