"""Every dimension and variable of unitlens' tables, declared once.

The declarations feed three things: the check of every table that is written or read
(:func:`validate`), the attributes that every variable carries (:func:`annotate`), and the
documentation.
"""
