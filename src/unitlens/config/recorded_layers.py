"""Choices of layers that need the measures of recorded layers."""

from collections.abc import Iterable

from unitlens.config.base import DeclaredLayer, LastLayers, LayerChoice, unnamed


def not_recorded(wanted: LayerChoice, recorded: LayerChoice) -> str | None:
    """Return what a choice of layers needs that is not recorded, in words; None where all is.

    Layers of a choice by number, or of patterns, are known from the network alone: what may be
    recorded counts as recorded.

    Parameters
    ----------
    wanted
        The layers that are perturbed.
    recorded
        The layers that are recorded.

    Examples
    --------
    >>> not_recorded(("relu1", "relu2"), ("relu1",))
    "'relu2'"
    >>> not_recorded(None, ("relu1",))
    'all layers'
    >>> not_recorded(LastLayers(last=2), None) is None
    True
    """
    if recorded is None:
        return None
    if wanted is None:
        return "all layers"
    if isinstance(wanted, LastLayers):
        fewer = isinstance(recorded, LastLayers) and recorded.last < wanted.last
        return f"the last {wanted.last} layers" if fewer else None
    if isinstance(recorded, LastLayers):
        return None
    missing = unnamed(wanted, recorded)
    if missing:
        return f"'{missing[0]}'"
    declared = _declarations(recorded)
    for name, of_wanted in _declarations(wanted).items():
        if name in declared and declared[name] != of_wanted:
            return f"'{name}' with that axis and those heads"
    return None


def _declarations(layers: Iterable[str | DeclaredLayer]) -> dict[str, DeclaredLayer]:
    entries = (DeclaredLayer(name=one) if isinstance(one, str) else one for one in layers)
    return {entry.name: entry for entry in entries}
