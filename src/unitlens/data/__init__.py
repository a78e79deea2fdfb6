"""Data sets: prepared once, read batch by batch, their labels corrupted on loading."""
