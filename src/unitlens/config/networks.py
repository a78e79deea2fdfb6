"""Sections of a network: its data set, its model and its training."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from unitlens.catalogue.datasets import (
    DATASETS,
    EmbeddedSource,
    ImageFileSource,
    TorchvisionSource,
)
from unitlens.config.base import Strict
from unitlens.config.looks import Looks
from unitlens.errors import nearest
from unitlens.user_code import refuse_standard_library

Share = Annotated[float, Field(ge=0, le=1)]

_FILE_SETS = {
    name: declared.source
    for name, declared in sorted(DATASETS.items())
    if isinstance(declared.source, ImageFileSource)
}
_OF_FILES = " and ".join(_FILE_SETS)
_OF_NAMED_FOLDERS = " and ".join(n for n, source in _FILE_SETS.items() if source.folders is None)


_FUNCTION = r"^\w+(\.\w+)*:\w+$"  # module:function


def _users_function(name: str) -> str:
    refusal = refuse_standard_library(name)
    if refusal:
        raise ValueError(refusal)
    return name


def _known_dataset(name: str) -> str:
    if name in DATASETS or re.fullmatch(_FUNCTION, name):
        return _users_function(name)
    raise ValueError(f"must be a known data set or 'module:function'; {nearest(name, DATASETS)}")


class DatasetSpec(Strict):
    """A data set, and the corruption of its labels."""

    later_keys: ClassVar = frozenset({"input", "target"})

    name: Annotated[str, AfterValidator(_known_dataset)] = Field(
        description="a built-in data set, one of torchvision's, image_folder, or module:function"
    )
    corruption: Share = Field(
        0.0, description="fraction of the training labels that are permuted among themselves"
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of a module:function"
    )
    input: str | None = Field(
        None,
        description="key of the input in the items of a module:function that are dictionaries; "
        "null: the only key beside the label that holds no text",
    )
    target: str | None = Field(
        None,
        description="key of the label in the items of a module:function that are dictionaries; "
        "null: label, labels, target or targets",
    )
    files: tuple[str, ...] = Field(
        (),
        description="files that a module:function reads, relative to the current directory; where "
        "their content changes, the data set is prepared again",
    )
    folders: dict[Literal["train", "test"], str] = Field(
        default_factory=dict,
        description=f"{_OF_NAMED_FOLDERS} only: folder of each split, with a folder for each class",
    )
    class_indices: dict[str, int] = Field(
        default_factory=dict,
        description=f"{_OF_FILES}: class folder to label, where the label is not the folder's rank",
    )
    image_size: PositiveInt | None = Field(
        None, description="side in pixels to which images from files are resized and cropped"
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="interpolation of images from files that are resized"
    )
    mean: tuple[float, ...] | None = Field(
        None,
        description="mean of each channel, of pixels in 0..1; null: that of the training set",
    )
    std: tuple[PositiveFloat, ...] | None = Field(
        None,
        description="standard deviation of each channel, of pixels in 0..1; null: that of the "
        "training set",
    )
    train_samples: PositiveInt | None = Field(
        None,
        description="size of a seeded, stratified subset of the training set; null: the whole set",
    )
    test_samples: PositiveInt | None = Field(
        None, description="size of a seeded, stratified subset of the test set; null: the whole set"
    )

    @property
    def from_files(self) -> bool:
        """Whether the inputs are image files, which are read and decoded each time."""
        return isinstance(self._source, ImageFileSource)

    @property
    def subset_sizes(self) -> dict[str, int | None]:
        """Number of samples that each split is reduced to, None where all samples are used."""
        return {"train": self.train_samples, "test": self.test_samples}

    @property
    def _source(self) -> EmbeddedSource | TorchvisionSource | ImageFileSource | None:
        """Source of a declared data set, None for a user's own."""
        return DATASETS[self.name].source if self.name in DATASETS else None

    @property
    def _named_folders(self) -> bool:
        """Whether the configuration must name the folders of the image files."""
        source = self._source
        return isinstance(source, ImageFileSource) and source.folders is None

    @model_validator(mode="after")
    def _fields_that_fit(self) -> "DatasetSpec":
        """Refuse keys that this kind of data set would ignore."""
        only = {
            "arguments": (":" in self.name, "a module:function"),
            "files": (":" in self.name, "a module:function"),
            "input": (":" in self.name, "a module:function"),
            "target": (":" in self.name, "a module:function"),
            "folders": (self._named_folders, _OF_NAMED_FOLDERS),
            "class_indices": (self.from_files, _OF_FILES),
            "image_size": (self.from_files, _OF_FILES),
            "interpolation": (self.from_files, _OF_FILES),
        }
        for key, (applies, kinds) in only.items():
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if not applies and getattr(self, key) != default:
                raise ValueError(f"{key} is for {kinds} only, not for {self.name}; remove {key}")
        return self

    @model_validator(mode="after")
    def _folders_where_needed(self) -> "DatasetSpec":
        if self._named_folders and set(self.folders) != {"train", "test"}:
            raise ValueError("folders must name a folder for 'train' and for 'test'")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std must be given together")
        return self


class MLPSpec(Strict):
    """A multilayer perceptron: dense, (batch norm,) ReLU, (dropout) in each hidden layer."""

    name: Literal["mlp"]
    widths: tuple[PositiveInt, ...] = Field(
        (512, 512), min_length=1, description="units of each hidden layer"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="probability that a hidden unit is dropped while training"
    )
    batch_norm: bool = Field(default=False, description="batch norm before each ReLU")


class ConvNetSpec(Strict):
    """A plain convolutional network: 3x3 convolution, (batch norm,) ReLU in each layer."""

    name: Literal["convnet"]
    channels: tuple[PositiveInt, ...] = Field(
        (64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512),
        min_length=1,
        description="feature maps of each layer, before the factor `width`",
    )
    strides: tuple[PositiveInt, ...] = Field(
        (1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1), description="stride of each convolution"
    )
    batch_norm: bool = Field(default=True, description="batch norm before each ReLU")
    width: PositiveFloat = Field(1.0, description="factor on the channels of every layer")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="probability that a feature map is dropped while training"
    )
    head: Literal["average", "flatten"] = Field(
        "average", description="input of the logits: average of each map, or all maps flattened"
    )

    @model_validator(mode="after")
    def _as_many_strides(self) -> "ConvNetSpec":
        if len(self.channels) != len(self.strides):
            raise ValueError(
                f"channels has {len(self.channels)} values and strides {len(self.strides)}, but "
                "both must have as many; give one of each for every layer"
            )
        return self


_WEIGHTS_KEY = (
    "key of the state dict in a weights file that holds more, such as model; of nested keys with "
    "dots between; or the beginning of the names of the network's tensors among others, up to a "
    "dot; null: the state dict that the file holds alone"
)


class _WeightsFromFile(Strict):
    """What sections with the keys ``weights`` and ``weights_key`` share."""

    later_keys: ClassVar = frozenset({"weights_key"})

    @model_validator(mode="after")
    def _weights_key_of_a_file(self) -> Self:
        weights, key = getattr(self, "weights", None), getattr(self, "weights_key", None)
        if key is not None and (weights is None or weights.startswith("torchvision:")):
            raise ValueError("weights_key is for a weights file; name one, or remove weights_key")
        return self


class TorchvisionSpec(_WeightsFromFile):
    """A network of torchvision.models, by name."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments")
    weights: str | None = Field(
        None,
        description="a weights file, or torchvision:NAME for weights of torchvision",
    )
    weights_key: str | None = Field(None, description=_WEIGHTS_KEY)


class UserModelSpec(_WeightsFromFile):
    """The user's own network: module:function that returns a torch.nn.Module."""

    name: Annotated[str, Field(pattern=_FUNCTION), AfterValidator(_users_function)]
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments")
    weights: str | None = Field(
        None,
        description="a weights file: safetensors, or a state dict for weights_only=True; "
        "null: the function returns the network with its weights",
    )
    weights_key: str | None = Field(None, description=_WEIGHTS_KEY)


# The families of networks that unitlens builds itself: name in the configuration to section.
MODEL_FAMILIES: dict[str, type[MLPSpec | ConvNetSpec]] = {"mlp": MLPSpec, "convnet": ConvNetSpec}


def _model_section(value: Any) -> str:
    """Return the name of the class of a ``model`` section, by the model's name."""
    name = str(value.get("name", "") if isinstance(value, dict) else getattr(value, "name", ""))
    if name in MODEL_FAMILIES:
        return MODEL_FAMILIES[name].__name__
    return "UserModelSpec" if ":" in name else "TorchvisionSpec"


# A tag is the name of its class: errors of the configuration find the keys of the section by it.
ModelSpec = Annotated[
    Annotated[MLPSpec, Tag("MLPSpec")]
    | Annotated[ConvNetSpec, Tag("ConvNetSpec")]
    | Annotated[TorchvisionSpec, Tag("TorchvisionSpec")]
    | Annotated[UserModelSpec, Tag("UserModelSpec")],
    Discriminator(_model_section),
]


class ScheduleSpec(Strict):
    """The schedule of the learning rate over the epochs."""

    name: Literal["constant", "step", "cosine"] = "constant"
    milestones: tuple[PositiveInt, ...] = Field(
        (), description="step only: epochs after which the learning rate is multiplied by gamma"
    )
    gamma: PositiveFloat = Field(0.1, description="step only: factor on the learning rate")

    @model_validator(mode="after")
    def _milestones_for_step(self) -> "ScheduleSpec":
        if (self.name == "step") != bool(self.milestones):
            raise ValueError(
                "milestones must be given for the step schedule, and for no other; set name to "
                "step, or remove milestones"
            )
        return self


class StopSpec(Strict):
    """The rule by which training stops early, when the training set is learnt."""

    train_accuracy: Annotated[float, Field(gt=0, le=1)] = Field(
        description="train accuracy to reach"
    )
    epochs: PositiveInt = Field(1, description="number of successive epochs with that accuracy")


class TrainingSpec(Strict):
    """How a network is trained."""

    epochs: PositiveInt = Field(description="number of passes over the training set")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="SGD, Adam or AdamW")
    learning_rate: PositiveFloat = Field(0.1, description="learning rate at the start")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum of SGD")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.0, description="L2 penalty, or decay of AdamW"
    )
    batch_size: PositiveInt = Field(128, description="samples of a step")
    schedule: ScheduleSpec = Field(ScheduleSpec(), description="schedule of the learning rate")
    stop: StopSpec | None = Field(None, description="rule of an early stop; null: none")
    augmentation: tuple[Literal["flip", "crop"], ...] = Field(
        (),
        description="random horizontal flips; random crops after padding by an eighth of the side",
    )
    selectivity_regulariser: float = Field(
        0.0,
        description="alpha of loss = cross-entropy - alpha x mean selectivity "
        "(Leavitt & Morcos 2020)",
    )
    checkpoints: Looks = Field(
        (),
        description="kept epochs: epochs after which the network is stored (0: before training; "
        "0.25: after a quarter of the first epoch's batches, to the nearest batch), as a list of "
        "numbers and of {every, until}, or as one {every, until}",
    )

    @model_validator(mode="after")
    def _checkpoints_exist(self) -> "TrainingSpec":
        late = [epoch for epoch in self.checkpoints if epoch > self.epochs]
        if late:
            raise ValueError(
                f"checkpoints must not lie after the last epoch, but {late} do; epochs is "
                f"{self.epochs}"
            )
        return self


class RunSpec(Strict):
    """One trained network: everything that determines its weights."""

    dataset: DatasetSpec
    model: ModelSpec
    training: TrainingSpec | None = Field(
        None, description="null: the network has the weights of its file"
    )
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _weights_or_training(self) -> "RunSpec":
        if isinstance(self.model, UserModelSpec) or self.training is not None:
            return self
        if getattr(self.model, "weights", None) is None:
            raise ValueError(
                "training must be given where the model has no weights of its own; set training or "
                "weights of the model"
            )
        return self
