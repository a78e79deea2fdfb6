"""Looks inside an epoch: the batches after which they fall, and how a record tells its look."""

import math
from collections.abc import Mapping, Sequence

from unitlens.config.looks import epoch_text

LOOK = "look"  # part of the origin of a network that is kept inside an epoch: its epoch, as text


def count_steps(samples: int, batch_size: int) -> int:
    """Return the number of batches of an epoch.

    Parameters
    ----------
    samples
        Number of samples of the training set.
    batch_size
        Samples of a batch. A last batch of a single sample joins the batch before it.

    Examples
    --------
    >>> count_steps(10, 4), count_steps(9, 4), count_steps(3, 1)
    (3, 2, 3)
    """
    steps = math.ceil(samples / batch_size)
    return steps - 1 if steps > 1 and batch_size > 1 and samples % batch_size == 1 else steps


def steps_of_looks(looks: Sequence[float], epoch: int, steps: int) -> dict[int, float]:
    """Return the looks that fall inside an epoch, by the number of batches that come before each.

    A look falls after the batch that is nearest to its share of the epoch, of two equally near ones
    after the later.

    Parameters
    ----------
    looks
        Epochs after which the network is kept; whole ones are left out.
    epoch
        Number of finished epochs.
    steps
        Number of batches of an epoch.

    Examples
    --------
    >>> steps_of_looks([0.25, 1, 1.5, 1.75], 1, 10)
    {5: 1.5, 8: 1.75}
    """
    return {
        nearest_step(look, steps): look for look in looks if look != epoch and int(look) == epoch
    }


def nearest_step(look: float, steps: int) -> int:
    """Return the number of batches of its epoch that come before a look.

    Parameters
    ----------
    look
        Epochs after which the network is kept.
    steps
        Number of batches of an epoch.
    """
    # A share such as 8.3 - 8 = .3000000000000007 is .3.
    return math.floor(round((look - int(look)) * steps, 6) + 0.5)


def find_crowded_look(looks: Sequence[float], steps: int) -> str | None:
    """Return which looks have no batch of their own, as the end of a message; None where all have.

    Parameters
    ----------
    looks
        Epochs after which the network is kept, ascending.
    steps
        Number of batches of an epoch.

    Examples
    --------
    >>> find_crowded_look([0, 0.25, 0.5], 4) is None
    True
    >>> find_crowded_look([0.25, 0.3], 4)
    '0.25 and 0.3 fall on the same batch, number 1 of 4 of the epoch; keep one of the two'
    """
    before: dict[tuple[int, int], float] = {}
    for look in looks:
        if look == int(look):
            continue
        place = int(look), nearest_step(look, steps)
        if place[1] in (0, steps):
            edge = place[0] + (place[1] == steps)
            return (
                f"{epoch_text(look)} falls on no batch of its own: of the "
                f"{'batches' if steps > 1 else 'batch'} of an epoch ({steps}) it comes "
                f"{'after the last' if place[1] else 'before the first'}; keep {edge} instead, or "
                "lower batch_size"
            )
        if place in before:
            return (
                f"{epoch_text(before[place])} and {epoch_text(look)} fall on the same batch, "
                f"number {place[1]} of {steps} of the epoch; keep one of the two"
            )
        before[place] = look
    return None


def trained_epochs(finished: int, origin_parts: Mapping[str, str]) -> float:
    """Return the epochs that a recorded network was trained for, a look inside an epoch included.

    Parameters
    ----------
    finished
        Number of finished epochs, ``epoch`` of the record.
    origin_parts
        Parts of the origin of the network, ``origin_parts`` of the record.

    Examples
    --------
    >>> trained_epochs(1, {"code": "a1", "look": "1.25"}), trained_epochs(1, {"code": "a1"})
    (1.25, 1)
    """
    return float(origin_parts[LOOK]) if LOOK in origin_parts else finished
