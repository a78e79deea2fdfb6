"""What the activations of units say: moments, histograms, measures, and directions of a layer."""
