"""A network seen as a graph of layers and units; nothing here knows data or training."""
