"""Tables over all networks: how they are made, opened, and what is computed from them."""

from unitlens.tables.correlations import rank_correlations
from unitlens.tables.curves import area_under_curve, noise_scale_at, random_orders
from unitlens.tables.results import Results, open_results
from unitlens.tables.tabulate import tabulate

__all__ = [
    "Results",
    "area_under_curve",
    "noise_scale_at",
    "open_results",
    "random_orders",
    "rank_correlations",
    "tabulate",
]
