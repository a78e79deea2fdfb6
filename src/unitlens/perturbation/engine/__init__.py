"""Perturbed forward passes, exact, at a fraction of a pass each.

`plans` finds which operations a perturbation reaches, and runs those alone; `readers` brings
dense and convolutional operations up to date instead of running them; `directions` says what is
perturbed; `endings` leaves a small dense end to the kernels of `fused`; `engine` puts them
together, many perturbations as the rows of one batch.
"""
