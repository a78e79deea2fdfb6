"""How many multiply-adds a network's forward pass takes, counted while one sample passes it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils.flop_counter import FlopCounterMode

from unitlens.networks.graph import Program


def pass_work(run: Callable[[Tensor], Any], inputs: Tensor) -> int:
    """Return the multiply-adds of a function of tensors.

    Parameters
    ----------
    run
        The function.
    inputs
        What it is called with.

    Returns
    -------
    Those of dense, convolutional and attention operations and products of matrices, each counted
    as two floating-point operations by torch; what works number by number is left out.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(inputs)
    return int(counter.get_total_flops()) // 2


def node_work(program: Program, inputs: Tensor) -> dict[fx.Node, int]:
    """Return the multiply-adds of each node of a program, as :func:`pass_work` counts them.

    Parameters
    ----------
    program
        The program of a network.
    inputs
        A batch of one sample.
    """
    found, values, before = {}, program.start(inputs), 0
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for node in program.nodes:
            program.step(node, values)
            after = int(counter.get_total_flops())
            found[node], before = (after - before) // 2, after
    return found
