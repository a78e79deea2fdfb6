"""What a configuration asks for by name, each declared once: figures, measures, values, data sets.

A declaration is data. Whatever lists the names (the configuration's schema, checks, tables, labels,
captions) follows from it.
"""
