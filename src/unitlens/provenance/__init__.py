"""Digests of the code that a result was computed with.

``source`` reads modules as syntax trees, ``canonical`` writes a definition without what changes no
number, ``digests`` follows the names of definitions from one to the next and hashes them.
"""
