"""The configuration: its sections, the expansion of sweeps into runs, and run identity."""
