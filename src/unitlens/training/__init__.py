"""Networks built from their specifications, trained, written as checkpoints, and resumed."""
