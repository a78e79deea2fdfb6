"""The page on networks that people bring runs, and its numbers are those of naive loops."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

PAGE = (Path(__file__).parents[3] / "docs/your-network.md").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the names that the blocks of the page define."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for block in re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL):
            exec(block, names)
        names["activations"] = names["activations"].load()
    return names


@pytest.fixture
def silenced():
    """Return a function that runs a module with some entries of another module's output at 0."""

    def run(model, inputs, module, entries):
        def silence(_module, _given, output):
            value = (output[0] if isinstance(output, tuple) else output).clone()
            value[..., entries] = 0
            return (value, *output[1:]) if isinstance(output, tuple) else value

        handle = module.register_forward_hook(silence)
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(value=False)
        try:
            with torch.no_grad():
                return model(*inputs) if isinstance(inputs, tuple) else model(inputs)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            handle.remove()

    return run


def increase(loss, silent, intact):
    return float((loss(silent) - loss(intact)).detach())


def test_classifier__is_as_a_naive_loop(page, silenced):
    model, (inputs, labels) = page["classifier"], page["data"].tensors

    def loss(logits):
        return cross_entropy(logits, labels)

    for unit in range(8):
        silent = silenced(model, inputs, model[1], [unit])
        expected = increase(loss, silent, model(inputs))
        assert page["table"]["loss_increase"][unit] == pytest.approx(expected, abs=1e-6)


def test_weights_of_a_file__are_those_of_the_saved_network(page):
    for name, tensor in page["classifier"].state_dict().items():
        assert torch.equal(page["fresh"].state_dict()[name], tensor)
    assert page["same"]["loss_increase"].equals(page["table"]["loss_increase"])


def test_several_inputs__are_as_a_naive_loop(page):
    model, items = page["two"], page["items"]
    x, y = (torch.stack([item[key] for item in items]) for key in ("x", "y"))
    labels = torch.tensor([item["label"] for item in items])
    with torch.no_grad():
        hidden = torch.relu(model.a(x) + model.b(y))
        for unit in range(8):
            silent = hidden.clone()
            silent[:, unit] = 0
            expected = cross_entropy(model.head(silent), labels) - cross_entropy(
                model.head(hidden), labels
            )
            assert page["two_inputs"]["loss_increase"][unit] == pytest.approx(
                float(expected), abs=1e-6
            )


@pytest.mark.parametrize(
    ("name", "part", "width"), [("residual", "", 1), ("heads", "self_attn", 4)]
)
def test_declared_units__are_as_a_naive_loop(page, silenced, name, part, width):
    model, (inputs, labels) = page["text"], page["sentences"].tensors
    table = page[name]
    modules = [layer.get_submodule(part) for layer in model.encoder.layers]
    assert table.sizes["unit"] == 2 * 16 // width

    def loss(logits):
        return cross_entropy(logits, labels)

    intact = silenced(model, inputs, modules[0], [])
    for place in (0, 3, table.sizes["unit"] - 1):
        row = table.isel(unit=place)
        depth, channel = divmod(place, 16 // width)
        entries = list(range(channel * width, (channel + 1) * width))
        silent = silenced(model, inputs, modules[depth], entries)
        expected = increase(loss, silent, intact)
        assert float(row["loss_increase"]) == pytest.approx(expected, abs=1e-5)


def test_encoder__has_the_units_of_its_mlps(page, silenced):
    table = page["encoder"]
    assert table.sizes["unit"] == 2 * 32
    model, (inputs, labels) = page["text"], page["sentences"].tensors
    dropout = model.encoder.layers[1].dropout  # it passes on the activations of the MLP

    def loss(logits):
        return cross_entropy(logits, labels)

    silent = silenced(model, inputs, dropout, [5])
    expected = increase(loss, silent, silenced(model, inputs, dropout, []))
    assert float(table["loss_increase"][32 + 5]) == pytest.approx(expected, abs=1e-5)


def test_tokens__are_as_a_naive_loop(page, silenced):
    model, (inputs, tags) = page["tagger"], page["tagged"].tensors

    def loss(logits):
        return cross_entropy(logits.flatten(0, 1), tags.flatten(), ignore_index=-100)

    with torch.no_grad():
        hidden = torch.relu(model.hidden(model.embedding(inputs)))
        for unit in range(12):
            silent = hidden.clone()
            silent[..., unit] = 0
            expected = loss(model.head(silent)) - loss(model.head(hidden))
            assert page["tokens"]["loss_increase"][unit] == pytest.approx(float(expected), abs=1e-6)
            of_class = [logits[tags == 2] for logits in (model.head(silent), model.head(hidden))]
            losses = [cross_entropy(logits, torch.full((len(logits),), 2)) for logits in of_class]
            row = page["tokens"].isel(unit=unit)
            assert float(row["class_loss_increase"].sel({"class": 2})) == pytest.approx(
                float(losses[0] - losses[1]), abs=1e-6
            )


def test_padded_texts__are_as_texts_alone(page):
    model, of_tokens = page["pooled"], page["of_tokens"]
    with torch.no_grad():
        tokens = [torch.relu(model.hidden(model.embedding(ids))) for ids, _ in page["texts"]]
    labels = np.repeat([label for _, label in page["texts"]], [len(of) for of in tokens])
    hidden = torch.cat(tokens).numpy()
    assert of_tokens["count"].values.tolist() == np.bincount(labels).tolist()
    for label in range(3):
        means = of_tokens["class_mean"].sel({"class": label})
        np.testing.assert_allclose(means, hidden[labels == label].mean(0), atol=1e-6)


def test_autoencoder__is_as_a_naive_loop(page, silenced):
    model, (inputs,) = page["autoencoder"], page["inputs"].tensors
    for unit in range(4):
        silent = silenced(model, inputs, model[1], [unit])
        errors = [
            page["squared_error"](output, inputs).mean() for output in (silent, model(inputs))
        ]
        expected = float((errors[0] - errors[1]).detach())
        assert page["errors"]["loss_increase"][unit] == pytest.approx(expected, abs=1e-6)
    recorded = page["activations"]["1"].activation.values
    np.testing.assert_allclose(recorded, model[:2](inputs).detach().numpy(), atol=1e-6)
    assert page["activations"].attrs["no_classes"]


def test_named_labels__keep_their_names(page):
    assert list(page["by_name"].attrs["label_names"]) == page["names"]
    labels = torch.tensor([page["names"].index(name) for _, name in page["named"]])
    inputs = torch.stack([value for value, _ in page["named"]])
    expected = cross_entropy(page["classifier"](inputs), labels).detach()
    assert page["by_name"].attrs["baseline_loss"] == pytest.approx(float(expected), abs=1e-6)


def test_statistics__by_an_attribute_are_means_over_its_samples(page):
    inputs, _ = page["data"].tensors
    activations = torch.relu(page["classifier"][0](inputs)).detach()
    for value in (0, 1):
        mean = activations[(inputs[:, 0] > 0) == value].mean(0)
        found = page["by_sign"]["class_mean"].sel({"class": value})
        np.testing.assert_allclose(found, mean, atol=1e-6)

    tagger, (tokens, tags) = page["tagger"], page["tagged"].tensors
    hidden = torch.relu(tagger.hidden(tagger.embedding(tokens))).detach()
    for place in range(4):
        mean = hidden[:, place][tags[:, place] != -100].mean(0)
        found = page["by_place"]["class_mean"].sel({"class": place})
        np.testing.assert_allclose(found, mean, atol=1e-6)
