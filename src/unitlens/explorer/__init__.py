"""The explorer: what the tables, stores and data sets of networks hold, to look at with the mouse."""
