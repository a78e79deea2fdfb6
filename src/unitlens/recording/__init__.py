"""Recording: a model runs over a data set, and the activations of its units fill a store."""
