"""Directions of a layer: principal components, random directions, dimensionality."""
