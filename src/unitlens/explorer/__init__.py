"""The explorer: a view of all units, runs and single units of a results folder, in Panel."""
