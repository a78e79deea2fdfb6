"""Data sets: prepared once, opened with or without label corruption, read batch by batch."""
