"""The files of the tables over all networks that a plan leads to."""

from unitlens.config.measurements import PERTURBATIONS
from unitlens.planning.plan import Plan

_OF_PERTURBATION = dict(zip(PERTURBATIONS, ("units", "curves", "noise"), strict=True))


def table_files(plan: Plan) -> tuple[list[str], list[str]]:
    """Return the folders and the files in which the tables of a plan lie.

    Parameters
    ----------
    plan
        The plan.

    Returns
    -------
    Folders and files, by their paths in the results folder, without their record ``tables.json``.

    Examples
    --------
    >>> from unitlens.config.reading import parse_config
    >>> from unitlens.planning.plan import make_plan
    >>> training = {"epochs": 1}
    >>> run = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "training": training}
    >>> alone = dict.fromkeys(("unit_ablation", "cumulative_ablation", "noise_robustness"))
    >>> plan = make_plan(parse_config({"experiments": {"e": run}, "measurements": alone}))
    >>> table_files(plan)  # doctest: +NORMALIZE_WHITESPACE
    (['history.zarr', 'runs.zarr', 'units.zarr'],
     ['history.parquet', 'runs.parquet', 'units.parquet'])
    """
    names = {"history", "runs"}
    of_runs = [name for name in ("measures", *PERTURBATIONS) if _measures_runs(plan, name)]
    names |= {_OF_PERTURBATION.get(name, "units") for name in of_runs}
    if {"measures", "unit_ablation"} <= set(of_runs):
        names.add("correlations")
    kept = ["checkpoints"] if plan.measured_kept_epochs() else []
    folders = [f"{name}.zarr" for name in sorted(names)]
    return [*folders, *kept], [f"{name}.parquet" for name in sorted(names)]


def _measures_runs(plan: Plan, section: str) -> bool:
    return any(name in plan.runs for name in plan.measured(section))
