"""What units are clamped to, and numbers given by unit.

`clamping` makes of a name or of numbers what stands in for a batch's activations; `means` are
those over a reference, `resampling` finds and reads other samples of it; `given` brings a user's
numbers into the order of the units.
"""
