"""Random flips and crops of a batch of images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unitlens.errors import ModelError


def augment(inputs: Tensor, kinds: Sequence[str]) -> Tensor:
    """Change the images of a batch at random, each in its own way.

    Parameters
    ----------
    inputs
        Normalised images of shape (batch, channels, height, width).
    kinds
        ``flip``: left and right change places in half of the images. ``crop``: each image is
        padded by an eighth of its size with zeros (the mean colour) and cut out anew at random.

    Returns
    -------
    New images of the same shape. PyTorch's CPU generator decides; seed it before.

    Raises
    ------
    ModelError
        Where the inputs are not images.
    """
    if kinds and inputs.dim() != 4:
        shape = tuple(inputs.shape[1:])
        raise ModelError(
            f"training.augmentation = {list(kinds)} needs images of shape (channels, height, "
            f"width), but the data set's inputs have shape {shape}; leave it out"
        )
    if "flip" in kinds:
        chosen = (torch.rand(len(inputs)) < 0.5).to(inputs.device)
        inputs = torch.where(chosen[:, None, None, None], inputs.flip(3), inputs)
    return _cropped(inputs) if "crop" in kinds else inputs


def _cropped(inputs: Tensor) -> Tensor:
    samples, channels, height, width = inputs.shape
    tall, wide = max(1, height // 8), max(1, width // 8)
    padded = torch.nn.functional.pad(inputs, (wide, wide, tall, tall))
    tops = torch.randint(2 * tall + 1, (samples,)).to(inputs.device)
    lefts = torch.randint(2 * wide + 1, (samples,)).to(inputs.device)
    rows = tops[:, None] + torch.arange(height, device=inputs.device)
    columns = lefts[:, None] + torch.arange(width, device=inputs.device)
    sample = torch.arange(samples, device=inputs.device)[:, None, None, None]
    channel = torch.arange(channels, device=inputs.device)[None, :, None, None]
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
