"""Measures of every unit, computed from a table of class statistics.

:mod:`unitlens.catalogue.measures` declares every measure: its function, its module in this room and
its variables.
"""
