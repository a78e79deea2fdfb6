"""The colours of pictures can be told apart by people with any colour vision."""

from itertools import combinations

import numpy as np
import pytest

from unitlens.plot.style import COLOURS

# Machado, Oliveira & Fernandes (2009), severity 1: what is seen of linear red, green and blue.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # of linear sRGB
JUST_SEEN = 2.3  # distance in CIELAB


def lab(colour, vision):
    """Return a colour as it is seen, in CIELAB."""
    srgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(vision @ linear, 0, 1)
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ seen / TO_XYZ.sum(1), 1e-9))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("name", VISIONS)
def test_colours__are_far_apart_for_each_vision(name):
    seen = {colour: lab(colour, VISIONS[name]) for colour in COLOURS}
    distances = {
        pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(COLOURS, 2)
    }

    closest = min(distances, key=distances.get)
    assert distances[closest] > 3 * JUST_SEEN, (closest, distances[closest])


def test_distance__of_red_and_green_is_small_without_green_cones():
    """The check itself: a pair that such people confuse is closer for them than for others."""
    red, green = "#B05A2C", "#6B7A2C"
    near, far = (
        np.linalg.norm(lab(red, VISIONS[name]) - lab(green, VISIONS[name]))
        for name in ("deuteranopia", "normal")
    )
    assert near < far / 2
