"""Recording: run a model over a data set and fill a store with its units' activations."""
