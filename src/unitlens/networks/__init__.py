"""Networks: their data sets, models, training, and the layers in which their units live.

Nothing is imported here, so that a command pays only for what it uses.
"""
