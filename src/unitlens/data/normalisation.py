"""The normalisation of the inputs of a data set, and the moments that it needs."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.data.dataset_record import DatasetRecord, Moments, channel_count


class PixelHistogram:
    """Number of occurrences of each integer value in each channel; its moments are exact.

    Parameters
    ----------
    channels
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), np.int64)

    def add(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Count the values of inputs, of shape (samples, channels, ...) or (samples, ...)."""
        pixels = pixels.reshape(len(pixels), len(self._counts), -1)
        for start in range(0, len(pixels), 1000):  # bincount widens to 64 bits
            for channel, counts in enumerate(self._counts):
                values = pixels[start : start + 1000, channel]
                counts += np.bincount(values.reshape(-1), minlength=256)

    def moments(self, scale: float) -> Moments:
        """Return mean and population standard deviation per channel, of values over `scale`.

        The deviation of a constant channel is set to 1.
        """
        values = np.arange(256) / scale
        shares = self._counts / self._counts.sum(1, keepdims=True)
        mean = shares @ values
        deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
        deviation[deviation == 0] = 1.0
        return tuple(mean.tolist()), tuple(deviation.tolist())


class Normalisation:
    """``(x / scale - mean) / std`` per channel, as one product and one sum in float32.

    Parameters
    ----------
    record
        Record of the data set, with `scale`, `mean` and `std`.
    """

    def __init__(self, record: DatasetRecord) -> None:
        scale = 1.0 if record.scale is None else record.scale
        mean = torch.tensor(record.mean or (0.0,), dtype=torch.float64)
        std = torch.tensor(record.std or (1.0,), dtype=torch.float64)
        shape = (
            (-1, *(1,) * (len(record.input_shape) - 1))
            if channel_count(record.input_shape) > 1
            else ()
        )
        self._factor = (1 / (scale * std)).to(torch.float32).reshape(shape)
        self._offset = (-mean / std).to(torch.float32).reshape(shape)
        self._identity = record.scale is None and record.mean is None

    def __call__(self, raw: Tensor) -> Tensor:
        """Return the inputs of stored values, both of shape (samples, ...), as float32."""
        inputs = raw.to(torch.float32)
        if self._identity:
            return inputs
        if inputs is raw:
            inputs = raw.clone()
        return inputs.mul_(self._factor.to(raw.device)).add_(self._offset.to(raw.device))
