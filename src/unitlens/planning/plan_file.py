"""The plan as a file, plan.json: what the step that joins all networks must find."""

from typing import Any

from unitlens.planning.network_steps import expected_provenances
from unitlens.planning.plan import Plan


def plan_values(plan: Plan) -> dict[str, Any]:
    """Return a plan as the plain values of plan.json.

    Parameters
    ----------
    plan
        The plan.

    Returns
    -------
    ``networks``: name of each measured network to its experiments; ``measured``: experiment to
    the measurements of its ``runs`` and ``kept`` epochs; ``expected``: name of each network to its
    files, by their paths in its directory, each with the provenance that it must state.
    """
    names = [*plan.runs, *plan.measured_kept_epochs()]
    expected = expected_provenances(plan)
    return {
        "networks": {name: list(plan.run_of(name).experiments) for name in names},
        "measured": plan.files_of_experiments(),
        "expected": {
            name: {file: stated.to_values() for file, stated in expected[name].items()}
            for name in names
        },
    }
