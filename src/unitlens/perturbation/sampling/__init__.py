"""Sampled ablation: the loss changes of drawn pairs of a unit and a sample, and their errors."""
