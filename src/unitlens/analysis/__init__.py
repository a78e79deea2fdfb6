"""Analyses of tables: areas under curves, rank correlations, agreement, generalisation."""
