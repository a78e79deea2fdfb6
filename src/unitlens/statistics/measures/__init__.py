"""Measures of every unit, computed from the table of class statistics: one module a measure."""
