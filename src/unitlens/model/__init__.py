"""Networks as graphs of layers and units, independent of data sets and of training."""
