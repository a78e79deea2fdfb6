"""What a configuration will do, known before anything runs: networks, checks, sizes."""

from unitlens.planning.checks import check_networks
from unitlens.planning.estimate import estimate_plan
from unitlens.planning.plan import FILES, Plan, make_plan

__all__ = ["FILES", "Plan", "check_networks", "estimate_plan", "make_plan"]
