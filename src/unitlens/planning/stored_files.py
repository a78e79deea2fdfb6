"""Files of results in a storage that do not fit a plan: what the files state is fetched."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from unitlens.hashed_files import HASH, hash_values
from unitlens.planning.network_steps import expected_provenances
from unitlens.planning.plan import Plan
from unitlens.planning.plan_file import plan_values
from unitlens.planning.stale_files import changed_code, find_stale
from unitlens.provenance.misfits import CHECKPOINT, HISTORY, read_values

_PLAN = "plan.json"
_RECORD = "dataset.json"


def find_stale_in_storage(
    plan: Plan, fetch: Callable[[Sequence[str], Path], None]
) -> dict[str, str]:
    """Return the files in a storage that must be made again, each with the reason.

    The records of networks and data sets are fetched. The other files were compared with the plan
    when the tables were joined, so they are fetched only where the plan there is another one.

    Parameters
    ----------
    plan
        The plan.
    fetch
        Function of the paths of files in the results folder and of a local folder. It copies to
        the folder those files that the storage holds, each to its path.

    Returns
    -------
    Path of each file in the results folder to what does not fit, in words.
    """
    expected = expected_provenances(plan)
    datasets = {f"datasets/{name}/{_RECORD}": spec for name, spec in plan.datasets.items()}
    with TemporaryDirectory() as folder:
        copies = Path(folder)
        fetch([_PLAN, *[f"{run}/{CHECKPOINT}" for run in plan.runs], *datasets], copies)
        stale = {}
        for file, spec in datasets.items():
            record = read_values(copies / file)
            reason = changed_code(record or {}, "prepare_dataset", spec.name)
            if reason is not None:
                stale[file] = reason
            # Its raw data may be on other machines alone.
            (copies / file).unlink(missing_ok=True)
        kept = [f"{network}/{CHECKPOINT}" for network in plan.kept_epochs]
        stated = read_values(copies / _PLAN)
        if stated is not None and stated.get(HASH) != hash_values(plan_values(plan)):
            measured = [
                f"{network}/{file}" for network, files in expected.items() for file in files
            ]
            fetch([*kept, *measured], copies)
        for run in plan.runs:  # what Snakemake itself misses where it is missing
            (copies / run).mkdir(parents=True, exist_ok=True)
            (copies / run / HISTORY).touch()
        for file in kept:
            (copies / file).parent.mkdir(parents=True, exist_ok=True)
            (copies / file).touch()
        config = plan.config.model_copy(update={"results": folder})
        found = find_stale(replace(plan, config=config))
        return stale | {str(Path(file).relative_to(copies)): why for file, why in found.items()}
