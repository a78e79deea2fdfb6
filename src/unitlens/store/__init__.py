"""Stores of activations: Zarr v3, whole shards only, resumable, never read where damaged."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unitlens.store.merge import merge_activations
    from unitlens.store.reader import open_activations
    from unitlens.store.verify import verify_store

_HOMES = {
    "merge_activations": "unitlens.store.merge",
    "open_activations": "unitlens.store.reader",
    "verify_store": "unitlens.store.verify",
}

__all__ = ["merge_activations", "open_activations", "verify_store"]


def __getattr__(name: str) -> Any:
    # A recording only writes: it does not wait for xarray and dask.
    if name not in _HOMES:
        raise AttributeError(f"module 'unitlens.store' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
