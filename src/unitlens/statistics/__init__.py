"""Statistics of activations: moments, histograms, measures of units, and subspaces of layers."""
