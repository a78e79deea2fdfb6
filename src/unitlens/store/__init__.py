"""Stores of activations: Zarr v3, written in whole shards, resumable, never read where damaged."""
