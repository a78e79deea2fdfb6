"""The explorer: units, layers and runs to look at with the mouse."""
