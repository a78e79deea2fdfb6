"""How a network comes about: built from its specification, trained, checkpointed, resumed."""
