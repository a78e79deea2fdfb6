"""The axes of a value, arranged as those of an activation: samples first, units on axis 1 or -1."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class UnitView:
    """An arrangement of the axes of a value as an activation, and back.

    Attributes
    ----------
    samples
        Axis of the samples.
    rows
        Number of rows of each sample on this axis, one after the other.
    axis
        Axis of the units that is moved to axis 1, once samples come first; None where units lie on
        axis 1 or -1 already.
    heads
        Number of units that this axis is split into; None where each entry is a unit.
    single
        Whether the value has one number a sample, which is the only unit.

    Examples
    --------
    >>> import torch
    >>> view = UnitView(samples=1, axis=2, heads=2)
    >>> value = torch.randn(5, 3, 8)
    >>> view.to_units(value).shape, view.from_units(view.to_units(value)).equal(value)
    (torch.Size([3, 2, 5, 4]), True)
    """

    samples: int = 0
    rows: int = 1
    axis: int | None = None
    heads: int | None = None
    single: bool = False

    def to_units(self, value: Tensor) -> Tensor:
        """Return a value as an activation (samples, ...)."""
        value = value.movedim(self.samples, 0) if self.samples else value
        if self.rows > 1:
            value = value.reshape(-1, self.rows, *value.shape[1:])
        if self.single:
            return value.unsqueeze(1)
        if self.axis is None:
            return value
        if self.heads is None:
            return value.movedim(self.axis, 1)
        before, after = value.shape[: self.axis], value.shape[self.axis + 1 :]
        return value.reshape(*before, self.heads, -1, *after).movedim(self.axis, 1)

    def from_units(self, activation: Tensor) -> Tensor:
        """Return an activation as the value that it was."""
        value = activation.squeeze(1) if self.single else activation
        if self.axis is not None:
            value = value.movedim(1, self.axis)
        if self.heads is not None and self.axis is not None:
            value = value.flatten(self.axis, self.axis + 1)
        value = value.flatten(0, 1) if self.rows > 1 else value
        return value.movedim(0, self.samples) if self.samples else value


PLAIN = UnitView()
