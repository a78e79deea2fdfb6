"""What sections of the measurements choose from."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from unitlens.config.base import Strict

Split = Literal["train", "test"]
ValueName = Literal["zero", "mean", "position_mean", "class_mean", "resample"]
ClampValue = Annotated[
    ValueName,
    Field(description="what a unit is clamped to; means and other samples are of the training set"),
]
TopScore = Annotated[
    Literal["top1", "top5"],
    Field(description="accuracy: the label has the largest logit, or is among the five largest"),
]


class LastLayers(Strict):
    """The last so many layers of every network."""

    last: PositiveInt


LayerChoice = Annotated[
    tuple[str, ...] | LastLayers | None,
    Field(description="names of layers, {last: n} for the last n of each network, null for all"),
]
