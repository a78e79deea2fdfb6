"""Every dimension and variable of unitlens' tables, each declared once.

Three things follow from the declarations: the check of every table that is written or read
(:func:`~unitlens.variables.checks.validate`), the attributes of every variable
(:func:`~unitlens.variables.checks.annotate`), and the documentation.
"""
