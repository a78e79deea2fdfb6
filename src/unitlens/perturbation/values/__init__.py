"""Values that units are clamped to, and numbers of units.

`clamping` makes the replacement of a batch's activations from the name of a value or from numbers;
`reference_data` computes means and activations of other samples from a reference data set;
`unit_values` matches units by name and brings a user's numbers into the order of the units.
"""
