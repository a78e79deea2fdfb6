"""Recording: run a model over a data set and fill a store with its units' activations."""

from unitlens.recording.record import record_activations
from unitlens.recording.repair import repair_activations

__all__ = ["record_activations", "repair_activations"]
