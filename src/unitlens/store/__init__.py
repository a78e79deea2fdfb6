"""Stores of activations: Zarr v3, whole shards only, resumable, never read where damaged."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unitlens.store.reader import open_activations

__all__ = ["open_activations"]


def __getattr__(name: str) -> Any:
    # A recording only writes: it does not wait for xarray and dask.
    if name != "open_activations":
        raise AttributeError(f"module 'unitlens.store' has no attribute '{name}'")
    from unitlens.store.reader import open_activations

    return open_activations
