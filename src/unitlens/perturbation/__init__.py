"""Perturbations: how loss and accuracy change when units are ablated or made noisy.

The public functions stand in modules of their names. `session` opens a network and reads the
scored samples; `scores` scores outputs; `importance` sums changes and makes the tables of what is
ablated alone; `values` computes what units are clamped to; `bases` and `given_directions` read
directions; `engine` runs the perturbed passes.

All functions are exact, and leave the model as it was.
"""
