"""What a configuration will do, known before anything runs: networks, checks, sizes."""

from unitlens.planning.checks import check_networks
from unitlens.planning.estimate import PlanEstimate, estimate_plan
from unitlens.planning.listing import assumptions, list_stages, list_stores
from unitlens.planning.plan import FILES, Plan, make_plan

__all__ = [
    "FILES",
    "Plan",
    "PlanEstimate",
    "assumptions",
    "check_networks",
    "estimate_plan",
    "list_stages",
    "list_stores",
    "make_plan",
]
