"""Trainings of a small network within a moment, and kills in the middle of them."""

import os
from functools import partial

import pytest

from unitlens.config.networks import RunSpec
from unitlens.training.train import train

OUTPUTS = ("checkpoint.json", "checkpoint.safetensors", "history.nc")  # of Snakemake's rule


def run_spec(model=None, **training):
    """Return the run of a small network on the data set digits, by keys of its training."""
    return RunSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": model or {"name": "mlp", "widths": [16]},
            "training": {"epochs": 2, "learning_rate": 0.05, **training},
        }
    )


class StoppingAfter:
    """A context in which KeyboardInterrupt comes in place of the n-th call of some functions.

    Parameters
    ----------
    count
        Number of calls that are carried out.
    names
        Functions of :mod:`os`.
    where
        Tells whether a call counts.
    """

    def __init__(self, count, names, where=lambda: True):
        self._count, self._where = count, where
        self._functions = {name: getattr(os, name) for name in names}
        self._patch = pytest.MonkeyPatch()
        self._calls = []

    def __enter__(self):
        for name in self._functions:
            self._patch.setattr(os, name, partial(self._call, name))
        return self._calls

    def __exit__(self, *_):
        self._patch.undo()

    def _call(self, name, *arguments, **options):
        if self._where():
            if len(self._calls) == self._count:
                raise KeyboardInterrupt
            self._calls.append((name, arguments))
        return self._functions[name](*arguments, **options)


def finishes(spec, dataset, directory):
    """Train, and tell whether the training was not killed."""
    try:
        train(spec, dataset, directory, code="now")
    except KeyboardInterrupt:
        return False
    return True
