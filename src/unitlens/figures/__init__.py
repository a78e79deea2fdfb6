"""Figures, each a function that draws and a function that tells what the figure shows.

``unitlens.catalogue.figures`` declares the figures. ``draw`` draws those that a configuration asks
for. ``needs``, ``wording``, ``style``, ``curves``, ``layer_axes`` and ``scatter`` hold what several
figures share; each other module holds figures.
"""
