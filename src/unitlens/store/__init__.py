"""Stores of activations: Zarr v3, whole shards only, resumable, never read where damaged."""
