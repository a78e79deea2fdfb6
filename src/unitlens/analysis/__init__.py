"""What is computed from tables: areas under curves, correlations, agreement, generalisation."""
