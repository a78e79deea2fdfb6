"""Plots of the tables that the public functions return: ``ul.plot.NAME(table, ax=...)``.

Every function draws into given Matplotlib axes, or makes axes, and returns the axes. The names are
loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unitlens.plot.curve_plots import ablation_curve, noise_curve
    from unitlens.plot.layer_plots import measure_agreement, selectivity_by_depth
    from unitlens.plot.training_plot import training_course
    from unitlens.plot.unit_plots import class_damage, class_profile
    from unitlens.plot.unit_scatter import measure_scatter
    from unitlens.plot.unit_tiles import unit_images

_HOMES = {
    "ablation_curve": "unitlens.plot.curve_plots",
    "class_damage": "unitlens.plot.unit_plots",
    "class_profile": "unitlens.plot.unit_plots",
    "measure_agreement": "unitlens.plot.layer_plots",
    "measure_scatter": "unitlens.plot.unit_scatter",
    "noise_curve": "unitlens.plot.curve_plots",
    "selectivity_by_depth": "unitlens.plot.layer_plots",
    "training_course": "unitlens.plot.training_plot",
    "unit_images": "unitlens.plot.unit_tiles",
}

__all__ = [
    "ablation_curve",
    "class_damage",
    "class_profile",
    "measure_agreement",
    "measure_scatter",
    "noise_curve",
    "selectivity_by_depth",
    "training_course",
    "unit_images",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unitlens.plot' has no attribute '{name}'")
    from unitlens.extras import naming_extras

    with naming_extras():
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
