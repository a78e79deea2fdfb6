"""The effect of changing a suspected cause, network by network of the same seed and level."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import FIELDS
from unitlens.reproduction.claim_types import Claim, ReportedNumber
from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.experiment_runs import Runs
from unitlens.reproduction.network_means import FEWEST
from unitlens.reproduction.student_t import mean, mean_error
from unitlens.reproduction.verdict import Verdict, judge
from unitlens.tables.run_table import read_network_record

Movement = Literal["nearer", "farther", "as near"]
LEAST_MOVEMENT = 5e-4  # half of the last digit that is written


class BaseNetwork(NamedTuple):
    """The network of the main experiment that one of an extra experiment is compared with.

    Attributes
    ----------
    run
        Its name.
    same_weights
        Whether both have the very same weights.
    """

    run: str
    same_weights: bool = False


class CauseEffect(NamedTuple):
    """The effect of changing a suspected cause on our result.

    Attributes
    ----------
    movement
        Whether a number is nearer to the paper's; None for other results.
    sure
        Whether the movement is sure.
    before
        The number without the change, of the paired networks where there are any; or the earlier
        verdict if it has changed; else None.
    pairs
        Number of pairs of networks that the movement is of; 0 where networks have no pairs.
    note
        A remark on networks that are the very same; empty without any.
    """

    movement: Movement | None = None
    sure: bool = False
    before: float | Verdict | None = None
    pairs: int = 0
    note: str = ""


def pair_networks(main: Runs, changed: Runs) -> dict[str, BaseNetwork]:
    """Pair the networks of an extra experiment with those of the main experiment.

    Parameters
    ----------
    main
        The networks of the main experiment.
    changed
        The networks of the extra experiment.

    Returns
    -------
    For the name of each network of the extra experiment the network of the main experiment that
    has the same seed and, of the settings in which the networks of either experiment differ among
    each other, the same values. Networks that several others match are left out.
    """
    columns = [name for name in FIELDS if _varies(main.table, name) or _varies(changed.table, name)]
    partners = _once(_keys(main, columns))
    return {
        run: BaseNetwork(partners[key], _have_same_weights(main, partners[key], run))
        for key, run in _once(_keys(changed, columns)).items()
        if key in partners
    }


def _varies(table: xr.Dataset, name: str) -> bool:
    return len(set(map(str, table[name].values))) > 1


def _keys(runs: Runs, columns: list[str]) -> dict[str, tuple[str, ...]]:
    """Return seed and settings of each run, as text: NaN is equal to itself."""
    rows = zip(*(map(str, runs.table[name].values) for name in ("seed", *columns)), strict=True)
    return dict(zip(runs.names, rows, strict=True))


def _once(keys: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Return the run of each key that one run only has."""
    counts = Counter(keys.values())
    return {key: run for run, key in keys.items() if counts[key] == 1}


def _have_same_weights(runs: Runs, first: str, second: str) -> bool:
    if first == second:
        return True
    directory = runs.results.directory
    hashes = [read_network_record(directory, run).weights_hash for run in (first, second)]
    return hashes[0] == hashes[1]


def effect_of_cause(
    claim: Claim, before: Evidence, after: Evidence, pairs: Mapping[str, BaseNetwork]
) -> CauseEffect:
    """Compare our result with and without a change, by :data:`unitlens.reproduction.rule.RULE`.

    Parameters
    ----------
    claim
        The claim, or an open question.
    before
        Our result without the change.
    after
        Our result with the change.
    pairs
        Of :func:`pair_networks`.

    Returns
    -------
    The movement of a number, or the earlier verdict if it has changed. Nothing for an order of
    other levels than before, or for a result that was not measured with the change.
    """
    if after.missing:
        return CauseEffect()
    finding = claim.finding
    if isinstance(finding, ReportedNumber) and before.estimate and after.estimate:
        return _move(finding, before.estimate, after.estimate, pairs)
    if not before.missing and len(before.levels) != len(after.levels):
        return CauseEffect()
    verdict = judge(claim, before)
    return CauseEffect(before=verdict) if verdict != judge(claim, after) else CauseEffect()


def _move(
    paper: ReportedNumber, before: Estimate, after: Estimate, pairs: Mapping[str, BaseNetwork]
) -> CauseEffect:
    of_main = {network.run: network.value for network in before.networks}
    matched = [
        (pairs[network.run], network.value)
        for network in after.networks
        if network.run in pairs and pairs[network.run].run in of_main
    ]
    # Weights of a network that was measured otherwise are the same, but its number is another.
    moved = [
        (of_main[base.run], value)
        for base, value in matched
        if not base.same_weights or value != of_main[base.run]
    ]
    same = len(matched) - len(moved)
    note = _same_note(same)
    if not moved:
        if same:
            return CauseEffect(note=note)
        return CauseEffect(_movement(paper, before.value, after.value), before=before.value)
    values = np.array(moved)
    start, changes = mean(values[:, 0]), values[:, 1] - values[:, 0]
    movement = _movement(paper, start, start + mean(changes))
    sure = len(moved) >= FEWEST and _sure_movement(paper, start, changes) == movement
    return CauseEffect(movement, sure, start, len(moved), note)


def _same_note(same: int) -> str:
    if not same:
        return ""
    verb = "networks are the very same" if same > 1 else "network is the very same"
    return f"{same} {verb} as without the change, and left out of the comparison"


def _movement(paper: ReportedNumber, before: float, after: float) -> Movement:
    change = _distance(paper, after) - _distance(paper, before)
    if abs(change) < LEAST_MOVEMENT:
        return "as near"
    return "nearer" if change < 0 else "farther"


def _sure_movement(paper: ReportedNumber, start: float, changes: np.ndarray) -> Movement | None:
    """Return the movement that all changes in their 95 % interval make; None without one."""
    n = len(changes)
    se = float(mean_error(changes))
    if not se > 0:
        return None
    low, high = (start + end for end in Estimate(mean(changes), se, n - 1, n).interval())
    ends = _distance(paper, low), _distance(paper, high)
    least, most = paper.reading
    nearest = 0.0 if low <= most and high >= least else min(ends)
    before = _distance(paper, start)
    if max(ends) < before:
        return "nearer"
    return "farther" if nearest > before else None


def _distance(paper: ReportedNumber, value: float) -> float:
    """Return the distance from the paper's value plus or minus its reading error."""
    low, high = paper.reading
    return max(low - value, value - high, 0.0)
