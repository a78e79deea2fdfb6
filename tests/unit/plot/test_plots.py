"""Plots show the numbers of their tables, say what they leave out, and name what a table lacks."""

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError, TableError


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)
    ).eval()
    dataset = TensorDataset(torch.rand(90, 1, 6, 6), torch.arange(90) % 3)
    stats = ul.network_statistics(model, dataset)
    ablation = ul.unit_ablation(model, dataset)
    units = xr.merge([ul.class_selectivity(stats), ablation], compat="no_conflicts")
    return model, dataset, stats, ablation, units


def unit_activations(made, channel):
    """The activations of a unit of the first ReLU on every sample."""
    model, dataset, *_ = made
    with torch.no_grad():
        return model[:3](dataset.tensors[0])[:, channel].double().numpy()


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_ablation_curve__is_the_mean_over_orders_with_one_deviation(made):
    model, dataset, *_ = made
    curves = ul.cumulative_ablation(model, dataset, orders=4, points=5)

    ax = ul.plot.ablation_curve(curves)

    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), curves.accuracy.mean("order"))
    np.testing.assert_allclose(line.get_xdata(), curves.ablated_fraction)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    top = (curves.accuracy.mean("order") + curves.accuracy.std("order")).max()
    assert band.max() == pytest.approx(float(top))
    assert ax.get_xlabel() == "units ablated (share of 28)"
    assert ax.get_ylabel() == "accuracy"


def test_ablation_curve__draws_orders_by_a_measure_and_other_values_apart():
    names = ["random-0", "random-1", "selectivity-descending", "mean-random-0", "mean-random-1"]
    accuracy = np.linspace(1, 0, 15).reshape(5, 3)
    curves = xr.Dataset(
        {"accuracy": (("order", "ablated"), accuracy)},
        coords={
            "order": names,
            "value": ("order", ["zero"] * 3 + ["mean"] * 2),
            "ablated_fraction": ("ablated", [0, 0.5, 1]),
        },
    )

    ax = ul.plot.ablation_curve(curves, label="net")

    assert labels(ax) == ["net", "net: selectivity-descending", "net: 2 random orders (mean)"]
    np.testing.assert_allclose(ax.lines[2].get_ydata(), accuracy[3:].mean(0))


def test_ablation_curve__of_one_kind_of_order_bears_the_label_alone():
    curves = xr.Dataset(
        {"accuracy": (("order", "ablated"), [[1.0, 0.2]])},
        coords={"order": ["selectivity-descending"], "ablated_fraction": ("ablated", [0.0, 1.0])},
    )
    ax = ul.plot.ablation_curve(curves)
    ul.plot.ablation_curve(curves, label="most selective first", ax=ax)

    assert labels(ax) == ["selectivity-descending", "most selective first"]


def test_ablation_curve__tells_the_number_of_units_only_where_all_networks_have_it():
    def curves(units):
        return xr.Dataset(
            {"accuracy": ("ablated", [1.0, 0.2])},
            coords={
                "ablated_fraction": ("ablated", [0.0, 1.0]),
                "ablated_units": ("ablated", [0, units]),
            },
        )

    ax = ul.plot.ablation_curve(curves(48))
    assert labels(ax) == ["1 order"]
    ul.plot.ablation_curve(curves(48), ax=ax)
    assert ax.get_xlabel() == "units ablated (share of 48)"
    ul.plot.ablation_curve(curves(96), ax=ax)
    assert ax.get_xlabel() == "units ablated (share)"
    ul.plot.ablation_curve(curves(96), ax=ax)
    assert ax.get_xlabel() == "units ablated (share)"


def test_lines__take_the_properties_that_the_user_names():
    curves = xr.Dataset(
        {"accuracy": (("order", "ablated"), [[1.0, 0.2], [1.0, 0.4]])},
        coords={
            "order": ["random-0", "random-1"],
            "ablated_fraction": ("ablated", [0.0, 1.0]),
        },
    )
    noise = xr.Dataset(
        {"accuracy": (("draw", "noise_scale"), [[0.9, 0.5], [0.9, 0.3]])},
        coords={"noise_scale": [0.5, 2.0]},
    )
    history = xr.Dataset({"test_loss": ("epoch", [2.0, 1.0])}, coords={"epoch": [0, 1]})
    units = xr.Dataset(
        {"selectivity": ("unit", [0.1, 0.2])},
        coords={"layer": ("unit", ["a", "a"]), "depth": ("unit", [0, 0])},
    )
    line = {"color": "#123456", "linewidth": 3.5}
    for drawn in (
        ul.plot.ablation_curve(curves, **line),
        ul.plot.noise_curve(noise, **line),
        ul.plot.training_course(history, **line),
        ul.plot.selectivity_by_depth(units, **line),
    ):
        assert (drawn.lines[0].get_color(), drawn.lines[0].get_linewidth()) == ("#123456", 3.5)


def test_noise_curve__says_of_what_the_standard_deviations_are(made):
    model, dataset, *_ = made
    of_elements, of_units = (
        ul.noise_robustness(model, dataset, [0.5, 2.0], draws=1, per=per)
        for per in ("element", "unit")
    )

    texts = [
        ul.plot.noise_curve(noise).get_xlabel()
        for noise in (of_elements, of_units, of_units.drop_attrs())
    ]

    assert texts == [
        "noise scale (standard deviations of a unit's elements)",
        "noise scale (standard deviations of each unit)",
        "noise scale (standard deviations)",
    ]


def test_curves__of_several_networks_tell_how_many(made):
    model, dataset, stats, *_ = made
    curves = ul.cumulative_ablation(model, dataset, orders=2, points=3)
    scales = {"scales": [0.0, 0.5, 2.0], "variance": ul.empirical_variance(stats).variance}
    noise = ul.noise_robustness(model, dataset, draws=2, **scales)
    two = [xr.concat([table, table + 0], "run") for table in (curves, noise)]

    ax = ul.plot.ablation_curve(two[0])
    other = ul.plot.noise_curve(two[1])

    assert labels(ax) == ["2 random orders, 2 networks"]
    assert labels(other) == ["2 draws, 2 networks"]
    np.testing.assert_allclose(other.lines[0].get_ydata(), noise.accuracy.mean("draw"))
    assert other.get_xscale() == "symlog"  # a scale of 0 stays in sight


def test_second_call__adds_another_colour_to_the_same_axes():
    history = xr.Dataset(
        {"train_loss": ("epoch", [2.0, 1.0]), "test_loss": ("epoch", [2.0, 1.5])},
        coords={"epoch": [0, 1]},
    )
    ax = ul.plot.training_course(history, label="a")
    assert ul.plot.training_course(3 * history, label="b", ax=ax) is ax

    assert labels(ax) == ["a: train loss", "a: test loss", "b: train loss", "b: test loss"]
    assert ax.lines[0].get_color() == ax.lines[1].get_color() != ax.lines[2].get_color()
    assert ax.get_ylim()[1] >= 6  # the later lines are in sight


def test_training_course__ends_where_a_network_stopped():
    history = xr.Dataset(
        {"test_loss": (("run", "epoch"), [[2.0, 1.0, np.nan], [2.0, 1.5, 0.5]])},
        coords={"epoch": [0, 1, 2]},
    )
    ax = ul.plot.training_course(history)

    assert [line.get_xdata().tolist() for line in ax.lines] == [[0, 1], [0, 1, 2]]
    assert labels(ax) == ["2 networks: test loss"]


def test_measure_scatter__tells_the_correlation_within_each_layer(made):
    *_, units = made
    ax = ul.plot.measure_scatter(units)

    rows = ul.rank_correlations(units, measures=["selectivity"], by=["layer"])
    expected = [
        f"{layer}: {rho:.2f} ({n} units)"
        for layer, rho, n in zip(
            rows.layer.values, rows.spearman.values, rows.n.values, strict=True
        )
    ]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == expected
    assert ax.collections[0].get_offsets().shape == (28, 2)


def test_measure_scatter__names_layers_that_begin_with_an_underscore():
    units = xr.Dataset(
        {"selectivity": ("unit", [0.1, 0.2]), "loss_increase": ("unit", [1.0, 2.0])},
        coords={"layer": ("unit", ["_swish"] * 2), "depth": ("unit", [0, 0])},
    )
    ax = ul.plot.measure_scatter(units)

    (text,) = ax.get_legend().get_texts()
    assert text.get_text() == "_swish: undefined (2 units, fewer than 10)"


def test_measure_scatter__says_what_it_does_not_draw():
    size = 5000
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, size))
    values[0, :10] = np.nan
    units = xr.Dataset(
        {"selectivity": ("unit", values[0]), "loss_increase": ("unit", values[1])},
        coords={"layer": ("unit", ["a"] * size), "depth": ("unit", [0] * size)},
    )
    ax = ul.plot.measure_scatter(units)

    (note,) = ax.texts
    assert note.get_text() == "4,000 of 4,990 units drawn; 10 of 5,000 units lack a value"
    assert "(4,990 units)" in labels(ax)[0]  # the correlation is over all


def test_selectivity_by_depth__keeps_the_layers_of_an_earlier_call(made):
    *_, units = made
    first = units.sel(layer="2")
    ax = ul.plot.selectivity_by_depth(units, label="both")
    ul.plot.selectivity_by_depth(first, label="first", ax=ax)

    medians = [float(units.sel(layer=layer).selectivity.median()) for layer in ("2", "4")]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), medians)
    assert ax.get_xlim() == (-0.5, 1.5)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["2", "4"]


def test_selectivity_by_depth__numbers_layers_that_networks_name_differently():
    def layers(*names):
        depths = range(len(names))
        return xr.Dataset(
            {"selectivity": ("unit", [0.5] * len(names))},
            coords={"layer": ("unit", list(names)), "depth": ("unit", list(depths))},
        )

    ax = ul.plot.selectivity_by_depth(layers("relu1", "relu2"))
    ul.plot.selectivity_by_depth(layers("conv1", "relu2", "relu3"), ax=ax)
    names = [text.get_text() for text in ax.get_xticklabels()]
    assert names == ["layer 0", "relu2", "relu3"]

    ul.plot.selectivity_by_depth(layers(*"abcdefgh"), ax=ax)
    ul.plot.selectivity_by_depth(layers("a", "b"), ax=ax)
    assert (ax.get_xlabel(), ax.get_xlim()) == ("depth of the layer", (-0.5, 7.5))


def test_measure_agreement__is_the_mean_over_layers_with_ten_units():
    values = np.random.default_rng(1).random((2, 29))
    depths = [0] * 12 + [1] * 12 + [2] * 5
    units = xr.Dataset(
        {"selectivity": ("unit", values[0]), "sparsity": ("unit", values[1])},
        coords={"layer": ("unit", [f"relu{d}" for d in depths]), "depth": ("unit", depths)},
    )

    ax = ul.plot.measure_agreement(units)

    rows = ul.rank_correlations(units, target="sparsity", measures=["selectivity"], by=["layer"])
    assert [text.get_text() for text in ax.texts] == [f"{rows.spearman.values[:2].mean():.2f}"]
    assert ax.get_xlabel() == "measure (mean over 2 layers)"


def test_class_profile__has_means_and_their_standard_errors(made):
    _, _, stats, *_ = made
    unit = stats.isel(unit=3)

    ax = ul.plot.class_profile(unit)

    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], unit.class_mean)
    own = unit_activations(made, 3)[::3]  # the samples of class 0
    (low, high), *_ = ax.collections[0].get_segments()
    assert (high - low)[1] == pytest.approx(2 * own.std(ddof=1) / np.sqrt(30), rel=1e-5)
    assert ax.get_xlabel() == "class (unit 3 of layer 2)"


def test_class_profile__draws_no_error_for_a_class_of_one_sample():
    unit = xr.Dataset(
        {
            "class_mean": ("class", [1.0, 2.0]),
            "class_variance": ("class", [0.0, 0.5]),
            "count": ("class", [1, 3]),
        }
    )
    ax = ul.plot.class_profile(unit)

    of_one, (lower, upper) = ax.collections[0].get_segments()
    assert len(of_one) == 0
    assert (upper - lower)[1] == pytest.approx(2 * np.sqrt(0.5 / 2))


def test_class_damage__has_the_drops_of_one_unit(made):
    *_, ablation, _ = made
    unit = ablation.isel(unit=[5])

    ax = ul.plot.class_damage(unit, variable="class_loss_increase")

    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, unit.class_loss_increase.values[0])
    assert ax.get_ylabel() == "loss increase of a class (nats)\n(± standard error)"


def test_unit_images__are_those_of_largest_activation(made):
    _, dataset, stats, *_ = made
    unit = stats.isel(unit=1)

    ax = ul.plot.unit_images(unit, dataset, count=3)

    shown = [image.get_array()[..., 0] for image in ax.images]
    pixels = torch.stack([dataset[int(sample)][0][0] for sample in unit.top_sample[:3]]).numpy()
    scaled = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    np.testing.assert_allclose(shown, scaled, atol=1e-6)
    first = f"{float(unit.top_activation[0]):.3g}\nclass {int(unit.top_class[0])}"
    assert ax.texts[0].get_text() == first


def test_class_damage__has_lines_of_the_intervals_of_accuracy_drops(made):
    _, _, _, ablation, _ = made
    unit = ablation.isel(unit=3)

    def lines(table):
        ax = ul.plot.class_damage(table)
        (bars,) = (one for one in ax.containers if hasattr(one, "errorbar"))
        segments = np.array(bars.errorbar[2][0].get_segments())[:, :, 1]
        return segments.T, ax.get_ylabel().split("\n")[1]

    ends = ["class_accuracy_drop_low", "class_accuracy_drop_high"]
    drawn, words = lines(unit)
    np.testing.assert_allclose(drawn, [unit[end] for end in ends], atol=1e-12)
    assert words == "(95 % intervals)"
    drop, error = unit["class_accuracy_drop"].values, unit["class_accuracy_drop_se"].values
    drawn, words = lines(unit.drop_vars(ends))  # as of unitlens 0.8
    np.testing.assert_allclose(drawn, [drop - error, drop + error], atol=1e-12)
    assert words == "(± standard error)"


def test_given_axes__are_drawn_into_without_a_new_figure(made):
    _, dataset, stats, ablation, units = made
    axes = Figure(figsize=(12, 3)).subplots(1, 4)
    one = stats.isel(unit=0)

    assert ul.plot.measure_scatter(units, ax=axes[0]) is axes[0]
    assert ul.plot.class_profile(one, ax=axes[1]) is axes[1]
    assert ul.plot.class_damage(ablation.isel(unit=0), ax=axes[2]) is axes[2]
    assert ul.plot.unit_images(one, dataset, ax=axes[3]) is axes[3]
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("function", "lacks", "source"),
    [
        ("ablation_curve", "accuracy", "unitlens.cumulative_ablation"),
        ("noise_curve", "accuracy", "unitlens.noise_robustness"),
        ("measure_scatter", "selectivity", "unitlens.unit_ablation"),
        ("selectivity_by_depth", "selectivity", "unitlens.class_selectivity"),
        ("measure_agreement", "depth", "unitlens.mutual_information"),
        ("class_profile", "class_mean", "unitlens.network_statistics"),
        ("class_damage", "class_accuracy_drop", "unitlens.unit_ablation"),
        ("training_course", "train_loss", "unitlens.open_results"),
    ],
)
def test_missing_variable__is_told_with_the_function_that_gives_it(function, lacks, source):
    table = xr.Dataset({"other": ("unit", [1.0])})

    with pytest.raises(TableError, match=f"has no '{lacks}'; pass .*{source}") as told:
        getattr(ul.plot, function)(table)
    assert "\n" not in str(told.value)
    with pytest.raises(ArgumentError, match="is a list, but must be an xarray Dataset"):
        getattr(ul.plot, function)([1, 2])


def test_several_units__are_refused_and_the_remedy_works(made):
    _, _, stats, *_ = made
    with pytest.raises(TableError, match=r"has 28 units.*\.isel\(unit=0\)"):
        ul.plot.class_profile(stats)
    ul.plot.class_profile(stats.isel(unit=0))


def test_unit_images__refuses_what_is_no_image_and_another_dataset(made):
    _, _, stats, *_ = made
    unit = stats.isel(unit=1)
    rows = [np.zeros(36)] * 90

    with pytest.raises(ArgumentError, match=r"of shape \(36,\), but must be an image"):
        ul.plot.unit_images(unit, rows)
    with pytest.raises(TableError, match="which the dataset does not have"):
        ul.plot.unit_images(unit, [])


def test_curves__on_other_dimensions_are_refused():
    curves = xr.Dataset(
        {"accuracy": (("network", "ablated"), [[1.0, 0.0]])},
        coords={"ablated_fraction": ("ablated", [0.0, 1.0])},
    )
    with pytest.raises(TableError, match=r"has dimensions \(network, ablated\)"):
        ul.plot.ablation_curve(curves)


def test_names__with_dollars_are_no_formulas():
    history = xr.Dataset({"test_loss": ("epoch", [1.0, 0.5])}, coords={"epoch": [0, 1]})
    ax = ul.plot.training_course(history, label="$a$_b$")
    ax.figure.canvas.draw()
    assert not ax.get_legend().get_texts()[0].get_parse_math()
