"""A user's own network and data, which do not import unitlens."""
