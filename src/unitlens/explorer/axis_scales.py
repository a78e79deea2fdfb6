"""Scales of an axis: linear, logarithmic, and symmetric logarithmic for values of both signs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SCALES = ("linear", "log", "symlog")
_LINEAR_SHARE = 10  # percent of the non-zero values that lie in the linear part of symlog
_MOST_TICKS = 9

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AxisScale:
    """What an axis does with its values.

    Attributes
    ----------
    kind
        ``linear``, ``log`` or ``symlog``.
    threshold
        Largest size of a value that ``symlog`` draws linearly.
    """

    kind: str
    threshold: float = 1.0

    @property
    def note(self) -> str:
        """What the label of the axis says of the scale."""
        told = {
            "linear": "",
            "log": ", log",
            "symlog": f", symlog, linear within ±{self.threshold:.0e}",
        }
        return told[self.kind]

    def forward(self, values: Values) -> Values:
        """Return the places of values on the axis.

        Parameters
        ----------
        values
            The values.

        Returns
        -------
        The places; NaN for a value that the scale has no place for.

        Examples
        --------
        >>> AxisScale("log").forward(np.array([100.0, 0.0, -1.0])).tolist()
        [2.0, nan, nan]
        >>> AxisScale("symlog", 1.0).forward(np.array([-9.0, 0.0, 99.0])).tolist()
        [-1.0, 0.0, 2.0]
        """
        if self.kind == "linear":
            return np.where(np.isfinite(values), values, np.nan)
        if self.kind == "log":
            placed = np.full(values.shape, np.nan)
            positive = np.isfinite(values) & (values > 0)
            placed[positive] = np.log10(values[positive])
            return placed
        finite = np.where(np.isfinite(values), values, np.nan)
        return np.sign(finite) * np.log10(1 + np.abs(finite) / self.threshold)

    def ticks(self, low: float, high: float) -> list[tuple[float, str]] | None:
        """Return places and labels of ticks, or nothing where the axis finds its own.

        Parameters
        ----------
        low
            Least place that the axis shows.
        high
            Largest place that the axis shows.

        Examples
        --------
        >>> AxisScale("log").ticks(-1.1, 1.2)
        [(-1.0, '0.1'), (0.0, '1'), (1.0, '10')]
        """
        if self.kind == "linear":
            return None
        if self.kind == "log":
            marks = 10.0 ** np.arange(np.ceil(low), np.floor(high) + 1)
            marks = marks[:: 1 + marks.size // _MOST_TICKS]
        else:
            powers = np.arange(1, np.ceil(max(abs(low), abs(high))) + 1)
            sizes = self.threshold * 10.0 ** powers[:: 1 + 2 * powers.size // _MOST_TICKS]
            marks = np.concatenate([-sizes[::-1], [0.0], sizes])
        told = self._told(marks, low, high)
        # Where less than two powers of ten lie on the axis, ticks stand at even distances.
        return told if len(told) > 1 else self._told(self._backward(low, high), low, high)

    def _backward(self, low: float, high: float) -> Values:
        places = np.linspace(low, high, 7)[1:-1]
        if self.kind == "log":
            return np.asarray(10.0**places)
        return np.asarray(np.sign(places) * self.threshold * (10.0 ** np.abs(places) - 1))

    def _told(self, marks: Values, low: float, high: float) -> list[tuple[float, str]]:
        labels = list(dict.fromkeys(f"{mark:.3g}" for mark in marks))
        places = self.forward(np.array([float(label) for label in labels]))
        return [
            (float(place), label)
            for place, label in zip(places, labels, strict=True)
            if low <= place <= high
        ]


def fit_scale(kind: str, values: Values) -> AxisScale:
    """Return the scale of an axis for values.

    Parameters
    ----------
    kind
        ``linear``, ``log`` or ``symlog``.
    values
        The values that the axis shows. The linear part of ``symlog`` holds about a tenth of those
        that are not zero.

    Examples
    --------
    >>> fit_scale("symlog", np.array([-1.0, 0.02, 0.5, 3.0])).threshold
    0.1
    """
    if kind != "symlog":
        return AxisScale(kind)
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not sizes.size:
        return AxisScale(kind)
    return AxisScale(kind, float(10.0 ** np.round(np.log10(np.percentile(sizes, _LINEAR_SHARE)))))
