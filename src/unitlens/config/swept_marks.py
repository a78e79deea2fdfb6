"""What the name of a run shows of the values that its experiment sweeps."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from unitlens.config.networks import RunSpec

MARK_LENGTH = 30  # characters of one swept value
MARKS_LENGTH = 100  # of all; further values are left out
# Keys that the name of a run shows by itself.
SHOWN_KEYS = frozenset(
    (
        *("dataset.name", "dataset.corruption", "model.name", "model.dropout"),
        *("model.batch_norm", "training.selectivity_regulariser"),
    )
)
SHORT_NAMES = {"learning_rate": "lr", "batch_size": "batch", "weight_decay": "decay"}


def swept_marks(spec: RunSpec, sweep: Iterable[str]) -> list[str]:
    """Return a mark for each swept value that the name of a run does not show by itself.

    Parameters
    ----------
    spec
        The specification of the run.
    sweep
        The swept keys of the experiment, as ``training.learning_rate``.

    Examples
    --------
    >>> spec = RunSpec.model_validate(
    ...     {
    ...         "dataset": {"name": "mnist"},
    ...         "model": {"name": "mlp", "widths": [64, 32]},
    ...         "training": {"epochs": 3, "learning_rate": 0.1},
    ...         "seed": 1,
    ...     }
    ... )
    >>> swept_marks(spec, ["training.learning_rate", "model.widths", "model.dropout"])
    ['lr0.1', 'widths64x32']
    """
    values = swept_values(spec, sweep)
    marks = [_mark(key, value) for key, value in values.items() if key not in SHOWN_KEYS]
    ends = itertools.accumulate(map(len, marks))
    return [mark for mark, end in zip(marks, ends, strict=True) if end <= MARKS_LENGTH]


def swept_values(spec: RunSpec, sweep: Iterable[str]) -> dict[str, Any]:
    """Return the values that a run has of swept keys, each key of a swept section by itself.

    Parameters
    ----------
    spec
        The specification of the run.
    sweep
        The swept keys of the experiment, as ``training.learning_rate``.
    """
    values = spec.model_dump(mode="json", exclude_unset=True)
    keys = (key for swept in sweep for key in _leaves(swept, _value_at(values, swept)))
    return {key: _value_at(values, key) for key in keys}


def file_name_part(text: str) -> str:
    """Return a text as part of a file name: letters, digits and underscores stay.

    Examples
    --------
    >>> file_name_part("my/networks.py:build")
    'my.networks.py.build'
    """
    return "".join(c if c.isalnum() or c == "_" else "." for c in text)


def _leaves(key: str, value: Any) -> list[str]:
    """Return a key, or those under it where its value is a section of the configuration."""
    if not isinstance(value, Mapping):
        return [key]
    return [leaf for name, under in value.items() for leaf in _leaves(f"{key}.{name}", under)]


def _value_at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _mark(key: str, value: Any) -> str:
    _, *parts = key.removesuffix(".name").split(".")
    name = ".".join(SHORT_NAMES.get(part, part) for part in parts)
    return f"{name}{_shown(value)}"[:MARK_LENGTH]


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return f".{str(value).lower()}"
    if isinstance(value, list):
        return "x".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else file_name_part(str(value))
