"""Networks as people bring them against plain passes in which each nonlinear call is seen."""

import os

import dask
import numpy as np
import pytest
import torch

import unitlens as ul
from brought_networks import NETWORKS, faster_rcnn, mixtral
from seen_calls import PlainPass
from unitlens.errors import LayerError, ModelError

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

pytestmark = pytest.mark.slow


class Compared:
    """A network, its plain pass, and its layers: all, and the first, the middle and the last."""

    def __init__(self, network):
        self.network, self.items = network, network.items()
        self.plain = PlainPass(network.model, network.inputs)
        self.base = network.mean_loss(self.plain.output)
        self.layers = ul.unit_layers(network.model, network.inputs, strict=True)
        last = len(self.layers) - 1
        self.sampled = {self.layers[n].name: n for n in sorted({0, (last + 1) // 2, last})}

    def axis(self, number):
        """Return the axis of the units in the result of a call."""
        call = self.plain.calls[number]
        return 1 if call.result.dim() == 2 else call.axis

    def loss_without(self, number, unit):
        """Return the increase of the loss where a unit is 0 in a plain pass."""

        def clear(result):
            result.movedim(self.axis(number), 0)[unit] = 0
            return result

        return self.network.mean_loss(self.plain.edited({number: clear})) - self.base

    def activation(self, number):
        """Return the activation of a layer, units last: of each token, or means over positions."""
        result = self.plain.calls[number].result.movedim(self.axis(number), -1)
        if self.network.per_token:
            return result[self.network.targets != -100]
        return result.reshape(len(self.items), -1, result.shape[-1]).mean(1)


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def compared(request):
    torch.manual_seed(0)
    return Compared(NETWORKS[request.param]())


def test_unit_layers__are_the_nonlinear_calls(compared):
    assert len(compared.layers) == len(compared.plain.calls)
    for number, layer in enumerate(compared.layers):
        shape, axis = compared.plain.calls[number].result.shape, compared.axis(number)
        rows = shape[0] // len(compared.items)  # of one sample
        assert layer.shape == ((rows, *shape[1:]) if rows > 1 else tuple(shape[1:])), layer.name
        assert (layer.units, layer.axis) == (shape[axis], axis), layer.name


def test_unit_ablation__equals_whole_passes(compared):
    network, sampled = compared.network, compared.sampled

    table = ul.unit_ablation(
        network.model, compared.items, layers=list(sampled), seed=1, score=network.score or "top1",
        units_per_layer=1 if len(sampled) == 3 else 3, **network.options,
    )  # fmt: skip

    units = zip(table.layer.values.tolist(), table.channel.values.tolist(), strict=True)
    changes = [compared.loss_without(sampled[name], unit) for name, unit in units]
    assert len(changes) >= 3
    largest = max(abs(compared.base), 1)
    np.testing.assert_allclose(table.loss_increase, changes, rtol=1e-9, atol=1e-9 * largest)
    assert table.attrs["baseline_loss"] == pytest.approx(compared.base, rel=1e-9)
    assert np.abs(changes).max() > 1e-4  # far above what counts as equal


def test_recorded_activations__are_those_of_the_calls(compared, tmp_path):
    network = compared.network
    options = network.options if network.per_token else {}

    path = ul.record_activations(
        network.model, compared.items, tmp_path / "a.zarr", layers=list(compared.sampled), **options
    )

    with dask.config.set(scheduler="synchronous"):
        tree = ul.open_activations(path)
        for name, number in compared.sampled.items():
            expected = compared.activation(number)
            rounding = 1e-5 * expected.abs().max()
            np.testing.assert_allclose(tree[name].activation, expected, rtol=1e-5, atol=rounding)


def sum_of_scores(detections):
    return torch.stack([found["scores"].sum() for found in detections])[:, None]


def missed(output, targets):
    return (output[:, 0] - targets).pow(2)


@pytest.mark.filterwarnings("ignore:the layers of units lack")
@pytest.mark.parametrize("score", ["top1", missed])
def test_detection_model__is_refused_in_one_line(score):
    network = faster_rcnn()

    with pytest.raises(ModelError) as refusal:
        ul.unit_ablation(network.model, network.items(), score=score)

    assert str(refusal.value) == (
        "the model puts out a list, but must put out a tensor with a row for each sample; give "
        "output=, a function of the model's output that returns such a tensor"
    )


def test_detection_model__is_right_where_a_function_reads_its_output():
    network = faster_rcnn()
    names = ["backbone.1", "rpn.head.conv.0.1"]

    table = ul.unit_ablation(
        network.model, network.items(), layers=names, output=sum_of_scores, score=missed
    )

    plain = PlainPass(network.model, network.inputs)
    base = missed(sum_of_scores(plain.output), network.targets).mean()
    changes = []
    for number, unit in np.ndindex(2, 4):

        def clear(result, unit=unit):
            result[:, unit] = 0
            return result

        output = sum_of_scores(plain.edited({number: clear}))
        changes.append((missed(output, network.targets).mean() - base).item())
    np.testing.assert_allclose(table.loss_increase, changes, rtol=1e-9, atol=1e-9)
    assert np.abs(changes).max() > 1e-4


def test_mixture_of_experts__is_refused_with_a_remedy_that_works():
    network = mixtral()

    with pytest.raises(LayerError, match=r"experts\.act_fn.* such as 'model\.embed_tokens'$"):
        ul.unit_ablation(network.model, network.items(), **network.options)
    table = ul.unit_ablation(
        network.model, network.items(), layers=["model.embed_tokens"], **network.options
    )

    with torch.no_grad():
        embed = network.model.model.embed_tokens.weight
        base = network.mean_loss(network.model(**network.inputs))
        for unit, loss in enumerate(table.loss_increase.values):
            column = embed[:, unit].clone()
            embed[:, unit] = 0
            change = network.mean_loss(network.model(**network.inputs)) - base
            embed[:, unit] = column
            assert loss == pytest.approx(change, abs=1e-5)
