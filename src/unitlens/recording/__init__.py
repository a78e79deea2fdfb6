"""Recording: run a model over a data set and fill a store with its units' activations."""

from unitlens.recording.record import estimate_recording, record_activations
from unitlens.store.estimate import Estimate

__all__ = ["Estimate", "estimate_recording", "record_activations"]
