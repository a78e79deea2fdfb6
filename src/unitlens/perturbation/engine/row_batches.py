"""Rows that run in one batch, composed so that a row has the same bits whatever runs beside it.

Libraries of matrix products, convolutions and elementwise functions sum and round otherwise for few
rows, for the last rows of a batch, and for rows at other places modulo the width of a vector. Hence
the rows of a direction or of a variant begin at a multiple of :data:`LANES`, and a batch is filled
up to a multiple of :func:`step` by copies, which nobody reads. Where memory holds fewer rows, each
batch holds rows of one direction or variant alone, always in one number. Ablations of a part of the
units, orders or draws are then those of the whole call to the last bit, on the same processor with
as many threads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unitlens.model.graph import Edit
from unitlens.model.layers import UnitLayer

VariantEdit = Callable[[UnitLayer, Tensor, slice], Tensor]

# Rows at places that are equal modulo this number have equal bits, and so have all rows of a batch
# whose number of rows is a multiple of the step: measured for MKL, oneDNN and the vectorised loops
# of torch in float32 and float64, with AVX2 and AVX-512, where no elementwise function runs on more
# than two threads.
LANES = 8
_STEP_OF_THREAD = 32


def step() -> int:
    """Return the multiple of rows to which batches are filled."""
    return _STEP_OF_THREAD * torch.get_num_threads()


def up_to(rows: int, multiple: int) -> int:
    """Return the smallest multiple of a number that is at least `rows`."""
    return -(-rows // multiple) * multiple


@dataclass(frozen=True)
class RowBatch:
    """Pairs of a direction and a sample that run as one batch.

    Attributes
    ----------
    rows
        Place of the pair of each row among all pairs, (rows,).
    kept
        Rows that are read, one for each of the pairs of the batch.
    count
        Number of rows before those that fill the batch up to a step.
    """

    rows: Tensor
    kept: Tensor
    count: int


def batches_of_pairs(directions: Tensor, size: int, *, unsplit: bool) -> Iterator[RowBatch]:
    """Compose batches of pairs of a direction and a sample.

    Parameters
    ----------
    directions
        Number of the direction of each pair, ascending.
    size
        Largest number of rows in a batch.
    unsplit
        Whether a batch holds all pairs of a direction, or as many as fit a batch of its own, since
        operations work on the pairs of one direction at once.

    Examples
    --------
    >>> batches = list(batches_of_pairs(torch.tensor([0, 0, 4]), 2, unsplit=False))
    >>> [batch.rows.tolist() for batch in batches], [batch.kept.tolist() for batch in batches]
    ([[0, 1], [2, 2]], [[0, 1], [0]])
    """
    alone = size < step()
    size = size if alone else size - size % step()
    lanes = size if alone else LANES
    counts = torch.unique_consecutive(directions, return_counts=True)[1]
    aligned = (counts + (lanes - 1)) // lanes * lanes
    first, first_aligned = counts.cumsum(0) - counts, aligned.cumsum(0) - aligned
    number = torch.repeat_interleave(aligned)
    place = torch.arange(len(number), device=number.device) - first_aligned[number]
    kept = place < counts[number]
    rows = first[number] + torch.minimum(place, counts[number] - 1)
    ends = _ends(aligned.tolist(), size) if unsplit else range(size, len(rows), size)
    begin = 0
    for end in (*ends, len(rows)):
        of_batch = rows[begin:end]
        filled = up_to(len(of_batch), size if alone else step())
        read = kept[begin:end].nonzero()[:, 0]
        yield RowBatch(repeat_last(of_batch, filled), read, len(of_batch))
        begin = end


def batches_of_chosen(directions: Tensor, size: int) -> Iterator[RowBatch]:
    """Compose batches of chosen pairs without copies.

    The bits of a row then depend on the rows beside it. Few chosen samples a direction would
    otherwise be mostly copies.

    Parameters
    ----------
    directions
        Number of the direction of each pair, ascending.
    size
        Largest number of rows in a batch.
    """
    every = torch.arange(len(directions), device=directions.device)
    for rows in torch.split(every, size):
        yield RowBatch(rows, torch.arange(len(rows), device=rows.device), len(rows))


def _ends(counts: list[int], size: int) -> list[int]:
    """Return where batches end that split no direction of at most `size` rows."""
    ends, begin, total = [], 0, 0
    for count in counts:
        if total > begin and total + count - begin > size:
            ends.append(total)
            begin = total
        total += count
        while total - begin > size:
            begin += size
            ends.append(begin)
    return ends


def repeat_last(index: Tensor, size: int) -> Tensor:
    """Return indices of rows, with the last one repeated up to a number of rows."""
    return torch.cat([index, index[-1:].expand(size - len(index))]) if size > len(index) else index


@dataclass(frozen=True)
class VariantRows:
    """Rows of the variants of a network that run as one batch.

    Attributes
    ----------
    samples
        Number of samples, of which each variant has a row.
    at_once
        Largest number of variants in a batch.
    of_variant
        Rows of one variant, of which the last ones are copies.
    filled
        Multiple of rows to which batches are filled.
    """

    samples: int
    at_once: int
    of_variant: int
    filled: int

    @classmethod
    def within(cls, size: int, samples: int) -> "VariantRows":
        """Return the rows for a largest number of rows, and a number of samples.

        Examples
        --------
        >>> rows = VariantRows.within(20, samples=3)
        >>> rows.at_once, rows.of_variant, rows.filled
        (1, 3, 1)
        """
        of_variant = up_to(samples, LANES)
        at_once = (size - size % step()) // of_variant
        if at_once < 2:
            return cls(samples, 1, samples, 1)
        return cls(samples, at_once, of_variant, step())

    def numbers(self, variants: int, device: torch.device) -> Tensor:
        """Return the number of the sample of each row."""
        every_sample = repeat_last(torch.arange(self.samples, device=device), self.of_variant)
        numbers = every_sample.repeat(variants)
        return repeat_last(numbers, up_to(len(numbers), self.filled))

    def split(self, rows: Tensor, variants: int) -> Tensor:
        """Return rows without copies, (variants, samples, ...)."""
        of_variants = rows[: variants * self.of_variant]
        return of_variants.reshape(variants, self.of_variant, *rows.shape[1:])[:, : self.samples]

    def join(self, split: Tensor) -> Tensor:
        """Return rows with copies from those of variants, (variants, samples, ...)."""
        copies = self.of_variant - self.samples
        if copies:
            last = split[:, -1:]
            split = torch.cat([split, last.expand(-1, copies, *split.shape[2:])], dim=1)
        rows = split.flatten(0, 1)
        missing = -len(rows) % self.filled
        if missing:
            rows = torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])
        return rows

    def edit(self, edit: VariantEdit, layer: UnitLayer, variants: slice) -> Edit:
        """Return the edit of one layer's activation, whose rows are those of some variants."""

        def apply(activation: Tensor) -> Tensor:
            split = self.split(activation, variants.stop - variants.start)
            return self.join(edit(layer, split, variants)).to(activation.dtype)

        return apply


def product_by_row(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return the product of rows (entries, ..., n) with a matrix (n, m), each entry as if alone.

    Parameters
    ----------
    rows
        The rows, which begin at a multiple of :data:`LANES` for each entry of axis 0.
    matrix
        The matrix.
    """
    by_entry = rows.flatten(1, -2)
    entries, size = by_entry.shape[:2]
    aligned = functional.pad(by_entry, (0, 0, 0, -size % LANES))
    flat = aligned.flatten(0, 1)
    product = (functional.pad(flat, (0, 0, 0, -len(flat) % step())) @ matrix)[: len(flat)]
    by_entry = product.reshape(entries, -1, matrix.shape[1])[:, :size]
    return by_entry.reshape(*rows.shape[:-1], matrix.shape[1])


def product_in_place(rows: Tensor, matrix: Tensor, places: Tensor) -> Tensor:
    """Return the product of rows (rows, n) with a matrix (n, m), each row as in the whole.

    Parameters
    ----------
    rows
        Some rows of a whole.
    matrix
        The matrix.
    places
        Place of each row in the whole, ascending.
    """
    blocks, block = torch.unique_consecutive(places // LANES, return_inverse=True)
    at = block * LANES + places % LANES
    placed = rows.new_zeros(up_to(len(blocks) * LANES, step()), rows.shape[1])
    placed[at] = rows
    return (placed @ matrix)[at]
