"""Where a figure's networks contradict the paper: findings in words that come out the other way."""

from collections.abc import Iterator, Sequence

from unitlens.analysis.run_groups import members_of
from unitlens.errors import MissingTableError
from unitlens.reproduction.claim_types import (
    Claim,
    ClaimGroup,
    ReportedNumber,
    ReportedOrder,
    ReportedSign,
    has_known_sign,
)
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.compare import evidence_function
from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.result_texts import number_text, paper_text
from unitlens.reproduction.verdict import judge
from unitlens.tables.results import Results

_NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "imagenet": "ImageNet"}


def contradictions(results: Results, figure: str, experiments: Sequence[str]) -> list[str]:
    """Tell which findings of the paper the networks of a figure contradict.

    Parameters
    ----------
    results
        The results.
    figure
        Name of the figure.
    experiments
        Experiments that the figure shows.

    Returns
    -------
    A sentence for each finding of the paper that the figure is about and that comes out the other
    way: a direction or the sign of a correlation, where our 95 % interval lies wholly on the other
    side of 0, or an order of which a test shows the contrary. With fewer than three networks the
    interval is that within the networks; the sentence then says that it tells nothing of others.
    Numbers are not compared: they depend on the size of networks and data set. Where the paper has
    the finding for several data sets, only that of the data set of the networks counts (a part of
    the data set, such as ``mnist5k`` of ``mnist``, counts as the data set).
    """
    runs = Runs(results, members_of(results.runs, experiments, f"the figure {figure} shows"))
    groups = {name: group for name, group in PAPER_CLAIMS.items() if figure in group.figures}
    if len(groups) > 1:
        groups = {name: group for name, group in groups.items() if _same_data(group, runs)}
    return [text for name, group in groups.items() for text in _of_group(name, group, runs)]


def _same_data(group: ClaimGroup, runs: Runs) -> bool:
    names = set(map(str, runs.table["dataset"].values))
    paper = group.protocol.dataset if group.protocol else ""
    return bool(paper) and all(name.startswith(paper) for name in names)


def _of_group(name: str, group: ClaimGroup, runs: Runs) -> Iterator[str]:
    claims = {claim.name: claim for claim in group.claims if _is_direction(claim)}
    if not claims or not runs.names:
        return
    for of_claim, measure in evidence_function(name)(runs):
        if of_claim not in claims:
            continue
        try:
            evidence = measure()
        except (NotMeasuredError, MissingTableError):
            continue
        if _contradicts(claims[of_claim], evidence):
            yield _sentence(claims[of_claim], group, evidence)


def _is_direction(claim: Claim) -> bool:
    finding = claim.finding
    is_correlation = isinstance(finding, ReportedNumber) and finding.correlation
    return is_correlation or isinstance(finding, ReportedSign | ReportedOrder)


def _contradicts(claim: Claim, evidence: Evidence) -> bool:
    """Return whether our result is on the other side of 0, or surely in another order."""
    if evidence.missing:
        return False
    finding, estimate = claim.finding, evidence.estimate
    if isinstance(finding, ReportedOrder):
        return judge(claim, evidence) == "differs"
    if estimate is None:
        return False
    if isinstance(finding, ReportedSign):
        return estimate.side() * finding.sign < 0
    if not isinstance(finding, ReportedNumber) or not has_known_sign(finding):
        return False
    return estimate.side() * finding.value < 0


def _sentence(claim: Claim, group: ClaimGroup, evidence: Evidence) -> str:
    """Return the quantity, our result with its interval, and the paper's.

    Examples
    --------
    >>> from unitlens.reproduction.estimates import Estimate
    >>> group = PAPER_CLAIMS["early_stopping"]
    >>> ours = Evidence(Estimate(0.02, 0.002, df=3, over="networks"), networks=4)
    >>> print(_sentence(group.claims[0], group, ours))  # doctest: +ELLIPSIS
    AUC at the end of training minus AUC at the least test loss is 0.020 (95 % interval 0.014 to ...
    """
    estimate = evidence.estimate
    if estimate is None:
        ours = f"{', '.join(map(number_text, evidence.levels))} over the levels"
    else:
        low, high = map(number_text, estimate.interval())
        ours = f"{number_text(estimate.value)} (95 % interval {low} to {high} over {estimate.over})"
    count = f"{evidence.networks} network{'s' * (evidence.networks != 1)}"
    if evidence.networks > 1 and claim.quantity.startswith("rank correlation"):
        count = f"{count} on average"  # the correlation of each network, not of all their units
    if not evidence.over_networks:
        count += ", too few to tell of others"
    where = _NAMES.get(group.protocol.dataset, "") if group.protocol else ""
    on = f" on {where}" if where else ""
    quantity = claim.quantity[0].upper() + claim.quantity[1:]
    return f"{quantity} is {ours}, of {count}. The paper finds{on}: {paper_text(claim)}."
