"""Rows and times of benchmarks/device.py."""

import time

import torch


def row(what, value, unit="", wanted=None):
    """Return a row; `wanted` is a largest value, or None where the value is only reported."""
    holds = None if wanted is None else bool(value <= wanted)
    return {"what": what, "value": value, "unit": unit, "wanted": wanted, "holds": holds}


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(action, device, least=0.2):
    """Return the seconds of a run: the best of as many as take `least` seconds, after a first."""
    action()
    best, spent = float("inf"), 0.0
    while best == float("inf") or spent < least:
        wait(device)
        start = time.perf_counter()
        action()
        wait(device)
        taken = time.perf_counter() - start
        best, spent = min(best, taken), spent + taken
    return best
