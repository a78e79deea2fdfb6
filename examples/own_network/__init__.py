"""Somebody's own network and data, which know nothing of unitlens."""
