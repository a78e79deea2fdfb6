"""Networks that people bring, small and with random weights, each with samples and a loss."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from network_zoo import NORMS, ZOO
from networks_by_hand import Wired

CLASSES = 4


def cross_entropy(output, targets):
    return functional.cross_entropy(logits(output), targets, reduction="none")


def cross_entropy_of_positions(output, targets):
    """Loss of each token; tokens of target -100 do not count."""
    return cross_entropy_of_pixels(logits(output).movedim(-1, 1), targets)


def cross_entropy_of_pixels(output, targets):
    losses = functional.cross_entropy(logits(output), targets, reduction="none")
    return losses[targets != -100]


def logits(output):
    if isinstance(output, Tensor):
        return output
    return output["out"] if "out" in output else output["logits"]


@dataclass
class Brought:
    """A network, a batch of inputs and targets, the loss of each sample, and the options of calls.

    `options` are those of ablation and recording alike, `score` that of ablation. Without targets
    the inputs are the targets.
    """

    model: nn.Module
    inputs: Tensor | tuple | dict
    targets: Tensor | None = None
    loss: Any = cross_entropy
    options: dict = field(default_factory=dict)
    score: Any = None

    def items(self):
        """Return the samples as the items of a data set."""
        if isinstance(self.inputs, dict):
            rows = [
                dict(zip(self.inputs, row, strict=True))
                for row in zip(*self.inputs.values(), strict=True)
            ]
        else:
            rows = list(zip(*self.inputs, strict=True)) if self.several else list(self.inputs)
        if self.targets is None:
            return rows
        labels = self.targets.tolist() if self.targets.dim() == 1 else self.targets
        return list(zip(rows, labels, strict=True))

    @property
    def several(self):
        return isinstance(self.inputs, tuple)

    @property
    def per_token(self):
        return self.loss is cross_entropy_of_positions

    def mean_loss(self, output):
        targets = self.inputs if self.targets is None else self.targets
        return self.loss(output, targets).double().mean().item()


def lively(model):
    """Return a model in float64 and eval mode whose units all matter."""
    generator = torch.Generator().manual_seed(3)
    model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
            if parameter.dim() > 1:
                parameter.mul_(1.5 / parameter[0].numel() ** 0.5)
            else:
                parameter.mul_(0.3).add_(0.7)
        for norm in (module for module in model.modules() if isinstance(module, NORMS)):
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def random(*shape):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def tokens(*shape, below=11):
    return torch.randint(1, below, shape, generator=torch.Generator().manual_seed(7))


def labels(samples):
    return torch.arange(samples) % CLASSES


# torchvision


def of_zoo(name, samples=2):
    def build():
        builder, size = ZOO[name]
        return Brought(builder(), random(samples, 3, size, size), labels(samples))

    return build


def swin_t():
    from torchvision.models import SwinTransformer

    model = SwinTransformer([2, 2], 8, [1, 2], [2, 2], [4, 4], num_classes=CLASSES)
    return Brought(lively(model), random(2, 3, 16, 16), labels(2))


def lraspp():
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large as build

    model = build(weights=None, weights_backbone=None, num_classes=CLASSES)
    targets = tokens(2, 33, 33, below=CLASSES)
    targets[:, :5] = -100
    options = {"positions": "samples", "ignore_index": -100}
    inputs = random(2, 3, 33, 33)
    return Brought(spread(model, inputs), inputs, targets, cross_entropy_of_pixels, options)


def spread(model, inputs):
    """Return a model in float64 whose batch norms have the statistics of a batch."""
    model = lively(model)
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        model(inputs)
    for norm in norms:
        norm.running_var.add_(1e-3)
    return model.eval()


def faster_rcnn():
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.rpn import AnchorGenerator

    backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU())
    backbone.out_channels = 4
    anchors = AnchorGenerator(((8, 16),), ((1.0,),))
    model = FasterRCNN(
        backbone, min_size=32, max_size=32, rpn_anchor_generator=anchors,
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(4 * 49, 8), nn.ReLU()),
        box_predictor=BoxPredictor(),
    )  # fmt: skip
    return Brought(lively(model), random(2, 3, 32, 32), labels(2))


class BoxPredictor(nn.Module):
    def __init__(self):
        super().__init__()
        self.scores, self.boxes = nn.Linear(8, CLASSES), nn.Linear(8, 4 * CLASSES)

    def forward(self, x):
        return self.scores(x), self.boxes(x)


# timm


def of_timm(name, size, **options):
    def build():
        import timm

        model = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)
        inputs = random(2, 3, size, size)
        return Brought(spread(model, inputs), inputs, labels(2))

    return build


def mixer():
    from timm.models.mlp_mixer import MlpMixer

    model = MlpMixer(CLASSES, img_size=16, patch_size=4, num_blocks=2, embed_dim=12)
    return Brought(lively(model), random(2, 3, 16, 16), labels(2))


# transformers

SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}


def masked_text():
    ids = tokens(4, 6)
    mask = torch.ones_like(ids)
    mask[1, 4:] = mask[3, 2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=11, num_labels=CLASSES, max_position_embeddings=8, **SMALL)
    return Brought(lively(BertForSequenceClassification(config)), masked_text(), labels(4))


def distilbert():
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=11, max_position_embeddings=8, dim=8, hidden_dim=12, n_layers=2, n_heads=2,
        num_labels=CLASSES,
    )  # fmt: skip
    return Brought(lively(DistilBertForSequenceClassification(config)), masked_text(), labels(4))


def per_token(model, inputs, targets):
    options = {"positions": "samples", "ignore_index": -100}
    return Brought(lively(model), inputs, targets, cross_entropy_of_positions, options)


def next_tokens(ids, mask):
    following = torch.full_like(ids, -100)
    following[:, :-1] = ids[:, 1:].where(mask[:, 1:] == 1, -100)
    return following


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=2, n_head=2, n_inner=12, use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    text = masked_text()
    return per_token(GPT2LMHeadModel(config), text, next_tokens(*text.values()))


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=11, max_position_embeddings=8, use_cache=False, **SMALL)
    text = masked_text()
    return per_token(LlamaForCausalLM(config), text, next_tokens(*text.values()))


def mixtral():
    """A mixture of experts: each expert computes on the tokens of all samples that are its own."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=11, max_position_embeddings=8, use_cache=False, num_key_value_heads=1,
        num_local_experts=2, num_experts_per_tok=1, **SMALL,
    )  # fmt: skip
    text = masked_text()
    network = per_token(MixtralForCausalLM(config), text, next_tokens(*text.values()))
    network.model.float()  # its product of experts knows no float64
    return network


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=11, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, use_cache=False,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0,
    )  # fmt: skip
    ids = tokens(4, 5)
    answer = ids.flip(1)
    start = torch.cat([torch.zeros_like(ids[:, :1]), answer[:, :-1]], dim=1)
    inputs = {"input_ids": ids, "decoder_input_ids": start}
    return per_token(T5ForConditionalGeneration(config), inputs, answer)


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(image_size=8, patch_size=4, num_labels=CLASSES, **SMALL)
    inputs = {"pixel_values": random(4, 3, 8, 8)}
    return Brought(lively(ViTForImageClassification(config)), inputs, labels(4))


def wav2vec2():
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    config = Wav2Vec2Config(
        num_labels=CLASSES, conv_dim=(6, 6), conv_kernel=(5, 3), conv_stride=(3, 2),
        num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        classifier_proj_size=6, **SMALL,
    )  # fmt: skip
    inputs = {"input_values": random(3, 60)}
    return Brought(lively(Wav2Vec2ForSequenceClassification(config)), inputs, labels(3))


# networks that people write


class WiredTwo(Wired):
    """Modules and the function that runs them on two inputs."""

    def forward(self, x, y):
        return self.wiring(self, x, y)


def wired(wiring, kind=Wired, **parts):
    return lively(kind(wiring, **parts))


def lstm():
    def run(m, x):
        return m.head(torch.relu(m.hidden(m.rnn(x)[0][:, -1])))

    rnn = nn.LSTM(3, 6, 2, batch_first=True)
    model = wired(run, rnn=rnn, hidden=nn.Linear(6, 5), head=nn.Linear(5, CLASSES))
    return Brought(model, random(4, 7, 3), labels(4))


def gru():
    def run(m, x):
        return m.head(m.rnn(x)[0].mean(1))

    rnn = nn.GRU(3, 6, batch_first=True, bidirectional=True)
    return Brought(wired(run, rnn=rnn, head=nn.Linear(12, CLASSES)), random(4, 7, 3), labels(4))


def packed():
    def run(m, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        output, _ = nn.utils.rnn.pad_packed_sequence(
            m.rnn(packed)[0], True, total_length=x.shape[1]
        )
        return m.head(output.sum(1) / lengths[:, None])

    model = wired(run, WiredTwo, rnn=nn.LSTM(3, 6, batch_first=True), head=nn.Linear(6, CLASSES))
    return Brought(model, (random(4, 7, 3), torch.tensor([7, 2, 5, 3])), labels(4))


def tcn():
    def run(m, x):
        for convolution, dilation in ((m.one, 1), (m.two, 2)):
            past = functional.pad(m.wide(x) if x.shape[1] == 3 else x, (2 * dilation, 0))
            x = torch.relu(convolution(past) + past[..., 2 * dilation :])
        return m.head(x[..., -1])

    parts = {
        "wide": nn.Conv1d(3, 6, 1),
        "one": nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 6, 3)),
        "two": nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 6, 3, dilation=2)),
        "head": nn.Linear(6, CLASSES),
    }
    return Brought(wired(run, **parts), random(4, 3, 9), labels(4))


def convolution_3d():
    model = nn.Sequential(
        *(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2)),
        *(nn.Conv3d(4, 5, 2), nn.ELU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()),
        nn.Linear(5, CLASSES),
    )
    return Brought(lively(model), random(3, 1, 8, 8, 8), labels(3))


def graph_network():
    def run(m, x, adjacency):
        x = torch.relu(adjacency @ m.one(x))
        x = torch.tanh(adjacency @ m.two(x))
        return m.head(x.mean(1))

    edges = (random(4, 5, 5) > 0).double()
    adjacency = edges / edges.sum(-1, keepdim=True).clamp(min=1)
    model = wired(
        run, WiredTwo, one=nn.Linear(3, 6), two=nn.Linear(6, 7), head=nn.Linear(7, CLASSES)
    )
    return Brought(model, (random(4, 5, 3), adjacency), labels(4))


def squared_error(output, target):
    return (output - target).pow(2).mean(1)


def autoencoder():
    model = nn.Sequential(
        *(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), nn.Tanh()),
        *(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6)),
    )
    return Brought(lively(model), random(4, 6), loss=squared_error, score=squared_error)


def negative_elbo(output, target):
    restored, mean, log_variance = output
    divergence = (mean.pow(2) + log_variance.exp() - 1 - log_variance).sum(1) / 2
    return (restored - target).pow(2).sum(1) + divergence


def variational_autoencoder():
    def run(m, x):
        hidden = torch.relu(m.encoder(x))
        mean, log_variance = m.mean(hidden), m.log_variance(hidden)
        latent = mean
        if m.training:
            latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return m.out(functional.softplus(m.decoder(latent))), mean, log_variance

    model = wired(
        run, encoder=nn.Linear(6, 7), mean=nn.Linear(7, 2), log_variance=nn.Linear(7, 2),
        decoder=nn.Linear(2, 5), out=nn.Linear(5, 6),
    )  # fmt: skip
    return Brought(model, random(4, 6), loss=negative_elbo, score=negative_elbo)


def contrastive(output, target):
    return torch.where(target == 1, output.pow(2), functional.relu(1 - output).pow(2))


def siamese():
    def run(m, one, other):
        return (m.tower(one) - m.tower(other)).norm(dim=1)

    tower = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))
    inputs = random(2, 4, 5).unbind(0)
    same = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    return Brought(wired(run, WiredTwo, tower=tower), inputs, same, contrastive, score=contrastive)


def transformer_encoder():
    def run(m, ids):
        return m.head(m.encoder(m.embedding(ids)).mean(1))

    block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
    parts = {"embedding": nn.Embedding(11, 8), "encoder": encoder, "head": nn.Linear(8, CLASSES)}
    return Brought(wired(run, **parts), tokens(4, 5), labels(4))


NETWORKS = {
    "torchvision resnet18": of_zoo("resnet18"),
    "torchvision vgg11": of_zoo("vgg11_bn"),
    "torchvision densenet121": of_zoo("densenet121"),
    "torchvision mobilenet_v3_small": of_zoo("mobilenet_v3_small"),
    "torchvision efficientnet_b0": of_zoo("efficientnet_b0"),
    "torchvision convnext": of_zoo("convnext"),
    "torchvision regnet_y_400mf": of_zoo("regnet_y_400mf"),
    "torchvision googlenet": of_zoo("googlenet"),
    "torchvision inception_v3": of_zoo("inception_v3"),
    "torchvision vit": of_zoo("vision_transformer"),
    "torchvision swin": swin_t,
    "torchvision lraspp": lraspp,
    "timm vit_tiny": of_timm("vit_tiny_patch16_224", 32, img_size=32, depth=2, embed_dim=24),
    "timm mixer": mixer,
    "timm convnext_atto": of_timm("convnext_atto", 32, depths=(1, 1, 2, 1), dims=(8, 12, 16, 20)),
    "timm mobilevit_xxs": of_timm("mobilevit_xxs", 32),
    "timm eca_resnet": of_timm("ecaresnet26t", 32),
    "timm efficientformer": of_timm(
        "efficientformer_l1", 224, depths=(1, 1, 1, 2), embed_dims=(8, 12, 16, 20)
    ),
    "transformers bert": bert,
    "transformers distilbert": distilbert,
    "transformers gpt2": gpt2,
    "transformers llama": llama,
    "transformers t5": t5,
    "transformers vit": vit,
    "transformers wav2vec2": wav2vec2,
    "lstm": lstm,
    "gru": gru,
    "packed lstm": packed,
    "tcn": tcn,
    "convolution 3d": convolution_3d,
    "graph network": graph_network,
    "autoencoder": autoencoder,
    "variational autoencoder": variational_autoencoder,
    "siamese": siamese,
    "transformer encoder": transformer_encoder,
}
