"""Sections that say how a network comes about: its data set, its model, its training."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from unitlens.config.base import Strict
from unitlens.errors import nearest

Share = Annotated[float, Field(ge=0, le=1)]

BUILT_IN_DATASETS = ("mnist5k", "digits")
TORCHVISION_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "imagenet")
FOLDER_DATASETS = ("image_folder",)
DATASETS = BUILT_IN_DATASETS + TORCHVISION_DATASETS + FOLDER_DATASETS


def _known_dataset(name: str) -> str:
    if name in DATASETS or ":" in name:
        return name
    raise ValueError(f"must be a known data set or 'module:function'; {nearest(name, DATASETS)}")


class DatasetSpec(Strict):
    """A data set, and what is done to its labels."""

    name: Annotated[str, AfterValidator(_known_dataset)] = Field(
        description="a built-in set, one of torchvision's, image_folder, or module:function"
    )
    corruption: Share = Field(
        0.0, description="fraction of the training labels that is permuted among itself"
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of a module:function"
    )
    folders: dict[Literal["train", "test"], str] = Field(
        default_factory=dict,
        description="image_folder only: the folder of each split, one folder a class in it",
    )
    class_indices: dict[str, int] = Field(
        default_factory=dict,
        description="image_folder and imagenet: class folder to label, where it is not its rank",
    )
    image_size: PositiveInt | None = Field(
        None, description="side in pixels to which images from files are resized and cropped"
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="how images from files are resized"
    )
    mean: tuple[float, ...] | None = Field(
        None, description="per channel, of pixels in 0..1; measured on the training set if null"
    )
    std: tuple[PositiveFloat, ...] | None = Field(
        None, description="per channel, of pixels in 0..1; measured on the training set if null"
    )
    train_samples: PositiveInt | None = Field(
        None, description="size of a seeded, stratified subset of the training set; all if null"
    )
    test_samples: PositiveInt | None = Field(
        None, description="size of a seeded, stratified subset of the test set; all if null"
    )

    @model_validator(mode="after")
    def _fields_that_fit(self) -> "DatasetSpec":
        """Refuse what this kind of data set would silently ignore."""
        from_files = self.name in ("imagenet", *FOLDER_DATASETS)
        only = {
            "arguments": (":" in self.name, "a module:function"),
            "folders": (self.name in FOLDER_DATASETS, "image_folder"),
            "class_indices": (from_files, "image_folder and imagenet"),
            "image_size": (from_files, "image_folder and imagenet"),
            "interpolation": (from_files, "image_folder and imagenet"),
        }
        for field, (fits, kinds) in only.items():
            info = type(self).model_fields[field]
            if not fits and getattr(self, field) != info.get_default(call_default_factory=True):
                raise ValueError(f"{field} is for {kinds} only, not for {self.name}")
        return self

    @model_validator(mode="after")
    def _folders_where_needed(self) -> "DatasetSpec":
        if self.name == "image_folder" and set(self.folders) != {"train", "test"}:
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
        description="feature maps of each layer, before `width`",
    )
    strides: tuple[PositiveInt, ...] = Field(
        (1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1), description="stride of each convolution"
    )
    batch_norm: bool = Field(default=True, description="batch norm before each ReLU")
    width: PositiveFloat = Field(1.0, description="factor on every layer's channels")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="probability that a feature map is dropped while training"
    )
    head: Literal["average", "flatten"] = Field(
        "average", description="what stands before the logits: global average pooling or all maps"
    )

    @model_validator(mode="after")
    def _as_many_strides(self) -> "ConvNetSpec":
        if len(self.channels) != len(self.strides):
            raise ValueError(
                f"channels ({len(self.channels)}) and strides ({len(self.strides)}) must be "
                "equally many"
            )
        return self


class TorchvisionSpec(Strict):
    """A network of torchvision.models, by name."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments")
    weights: str | None = Field(
        None,
        description="a weights file, or torchvision:NAME for one of torchvision's own",
    )


class UserModelSpec(Strict):
    """The user's own network: module:function that returns a torch.nn.Module."""

    name: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments")
    weights: str | None = Field(
        None,
        description="a weights file: safetensors, or a state dict for weights_only=True; "
        "null where the function returns the network with its weights",
    )


def _model_kind(value: Any) -> str:
    name = value.get("name", "") if isinstance(value, dict) else getattr(value, "name", "")
    if name in ("mlp", "convnet"):
        return str(name)
    return "user" if ":" in str(name) else "torchvision"


ModelSpec = Annotated[
    Annotated[MLPSpec, Tag("mlp")]
    | Annotated[ConvNetSpec, Tag("convnet")]
    | Annotated[TorchvisionSpec, Tag("torchvision")]
    | Annotated[UserModelSpec, Tag("user")],
    Discriminator(_model_kind),
]


class ScheduleSpec(Strict):
    """How the learning rate changes over the epochs."""

    name: Literal["constant", "step", "cosine"] = "constant"
    milestones: tuple[PositiveInt, ...] = Field(
        (), description="step only: epochs after which the rate is multiplied by gamma"
    )
    gamma: PositiveFloat = Field(0.1, description="step only: the factor")

    @model_validator(mode="after")
    def _milestones_for_step(self) -> "ScheduleSpec":
        if (self.name == "step") != bool(self.milestones):
            raise ValueError("milestones must be given for the step schedule, and only for it")
        return self


class StopSpec(Strict):
    """Stop before the last epoch, when the training set is learnt."""

    train_accuracy: Annotated[float, Field(gt=0, le=1)] = Field(
        description="train accuracy that must be reached"
    )
    epochs: PositiveInt = Field(1, description="for how many epochs in a row")


class TrainingSpec(Strict):
    """How a network is trained."""

    epochs: PositiveInt = Field(description="number of passes over the training set")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="SGD, Adam or AdamW")
    learning_rate: PositiveFloat = Field(0.1, description="at the start")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="SGD's momentum")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="L2 penalty or AdamW's")
    batch_size: PositiveInt = Field(128, description="samples a step")
    schedule: ScheduleSpec = Field(ScheduleSpec(), description="of the learning rate")
    stop: StopSpec | None = Field(None, description="when to stop early; never if null")
    augmentation: tuple[Literal["flip", "crop"], ...] = Field(
        (), description="random horizontal flips; random crops after padding by an eighth"
    )
    selectivity_regulariser: float = Field(
        0.0,
        description="alpha of loss = cross-entropy - alpha x mean selectivity "
        "(Leavitt & Morcos 2020)",
    )
    checkpoints: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="epochs after which the network is kept as well (0: before training)"
    )

    @model_validator(mode="after")
    def _checkpoints_exist(self) -> "TrainingSpec":
        late = [epoch for epoch in self.checkpoints if epoch > self.epochs]
        if late:
            raise ValueError(f"checkpoints must not lie after the last epoch, but {late} do")
        return self


class RunSpec(Strict):
    """One trained network: everything that determines its weights."""

    dataset: DatasetSpec
    model: ModelSpec
    training: TrainingSpec | None = Field(
        None, description="null: the network is taken as its weights file has it"
    )
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _weights_or_training(self) -> "RunSpec":
        if isinstance(self.model, UserModelSpec) or self.training is not None:
            return self
        if getattr(self.model, "weights", None) is None:
            raise ValueError("training must be given where the model has no weights of its own")
        return self
