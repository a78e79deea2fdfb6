"""Scikit-learn's handwritten digits, split and scaled here."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset


def digit_images(noise: float = 0.0) -> dict[str, TensorDataset]:
    """Return the data set of each split.

    Parameters
    ----------
    noise
        Standard deviation of Gaussian noise on the pixels, which lie in 0..1.

    Returns
    -------
    ``train`` (1,437 images) and ``test`` (360 images), each of (1, 8, 8) images and labels.
    """
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8) / 16 - 0.3
    images += noise * np.random.default_rng(0).standard_normal(images.shape)
    order = np.random.default_rng(1).permutation(len(images))
    train, test = order[:1437], order[1437:]
    inputs, targets = torch.from_numpy(images).float(), torch.from_numpy(labels).long()
    return {
        "train": TensorDataset(inputs[train], targets[train]),
        "test": TensorDataset(inputs[test], targets[test]),
    }
