"""Perturbed forward passes, exact, at a fraction of a pass each.

`plans` finds which operations a perturbation reaches, and runs those alone; `readers` brings
dense and convolutional operations up to date instead of running them; `directions` says what is
perturbed; `endings` leaves a small dense end to the kernels of `fused`; `engine` puts them
together, many perturbations as the rows of one batch.
"""

from unitlens.perturbation.engine.directions import Directions, Mixtures, Replacement, Units
from unitlens.perturbation.engine.effects import Effect, SummedEffect
from unitlens.perturbation.engine.endings import Scored
from unitlens.perturbation.engine.engine import Engine, Perturbed, VariantEdit

__all__ = [
    "Directions",
    "Effect",
    "Engine",
    "Mixtures",
    "Perturbed",
    "Replacement",
    "Scored",
    "SummedEffect",
    "Units",
    "VariantEdit",
]
