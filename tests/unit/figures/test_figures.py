"""Figures show the results, tell their findings, and refuse results that lack what they need."""

import json
import re

import numpy as np
import pytest
import xarray as xr

from synthetic_results import MLP, default_networks, network, swept_networks, write_results
from unitlens.analysis.curve_summaries import random_orders
from unitlens.analysis.run_groups import group_runs
from unitlens.catalogue.figures import FIGURES
from unitlens.errors import TableError
from unitlens.figures.draw import draw_figures, functions_of, runs_of
from unitlens.figures.needs import UndrawnFigureError
from unitlens.tables.results import open_results

EXPERIMENTS = {
    "memorisation_ablation": ("memorisation",),
    "memorisation_noise": ("memorisation",),
    "dropout_ablation": ("dropout",),
    "batch_norm_ablation": ("batch_norm",),
    "batch_norm_selectivity": ("batch_norm",),
    "batch_norm_information": ("batch_norm",),
    "selectivity_importance": ("memorisation",),
    "selectivity_l1_norm": ("memorisation",),
    "auc_test_accuracy": ("memorisation", "dropout", "batch_norm"),
    "auc_over_training": ("memorisation",),
    "selectivity_depth": ("memorisation", "batch_norm"),
    "importance_depth": ("memorisation", "batch_norm"),
    "same_data_auc": ("sweep",),
    "same_data_curves": ("sweep",),
    "hyperparameter_selection": ("sweep",),
    "early_stopping": ("memorisation",),
    "clamping": ("memorisation", "batch_norm"),
    "bases": ("memorisation",),
    "measure_orders": ("memorisation", "batch_norm"),
    "class_damage": ("memorisation",),
    "measure_agreement": ("memorisation",),
    "information_importance": ("memorisation",),
    "l1_norm_importance": ("memorisation",),
    "regulariser": ("sweep", "regulariser"),
    "selectivity_over_training": ("memorisation",),
}
VARIED = {"clamping", "bases"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("figures")
    return open_results(write_results(directory, default_networks() + swept_networks()))


@pytest.fixture(scope="module")
def varied(results):
    """The same results, with curves of other values and bases beside the main ones."""
    opened = open_results(results.directory)
    opened.curves = with_variants(results.curves)
    return opened


def with_variants(curves):
    """Add random orders clamped to the mean, of lower accuracy, and of two other bases."""
    main = random_orders(curves)
    parts = [curves.assign_coords(value=("order", ["zero"] * curves.sizes["order"]))]
    parts[0]["basis"] = ("order", ["units"] * curves.sizes["order"])
    for value, basis, scale in (
        ("mean", "units", 0.5),
        ("zero", "random", 0.8),
        ("zero", "principal_components", 0.7),
    ):
        names = [f"{value}-{basis}-{name}" for name in main["order"].values]
        part = main.assign(accuracy=scale * main["accuracy"])
        size = part.sizes["order"]
        part = part.assign_coords(
            order=names, value=("order", [value] * size), basis=("order", [basis] * size)
        )
        parts.append(part)
    parts[0] = parts[0].set_coords(["value", "basis"])
    joined = xr.concat(parts, "order", coords="different", compat="equals")
    return joined.assign_attrs(curves.attrs)


@pytest.fixture(scope="module")
def one_seed(tmp_path_factory):
    """One network, no kept epochs, trained on permuted labels."""
    directory = tmp_path_factory.mktemp("one")
    return open_results(write_results(directory, [network(("only",), corruption=0.5)]))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Networks on which nothing was measured but their accuracy."""
    without = ("unit_measures", "unit_ablation", "cumulative_ablation", "noise_robustness")
    directory = tmp_path_factory.mktemp("bare")
    return open_results(write_results(directory, without=without))


def runs_for(results, name):
    return runs_of(results, EXPERIMENTS[name], name)


@pytest.mark.parametrize("name", FIGURES)
def test_finding__is_two_sentences_with_numbers(results, varied, name):
    tell = functions_of(name)[1]
    results = varied if name in VARIED else results

    finding = tell(results, runs_for(results, name))

    assert len(re.findall(r"[^\d.][.](?= [A-Z]|$)|\d[.](?= [A-Z]|$)|\)[.](?= |$)", finding)) == 2
    assert len(re.findall(r"\d\.\d", finding)) >= 2
    assert "nan" not in finding


def test_draw_figures__writes_the_same_bytes_again(results, tmp_path):
    asked = {name: EXPERIMENTS[name] for name in ("memorisation_ablation", "auc_test_accuracy")}

    for place in ("first", "second"):
        draw_figures(results.directory, asked, tmp_path / place)

    listed = json.loads((tmp_path / "first" / "figures.json").read_text())["figures"]
    assert [figure["name"] for figure in listed] == list(asked)
    assert set(listed[0]) == {"name", "title", "caption", "finding", "experiments"}
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(names) == 7
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_axes__are_named(results, varied, name):
    draw = functions_of(name)[0]
    results = varied if name in VARIED else results

    figure = draw(results, runs_for(results, name))

    figure.draw_without_rendering()
    assert any(axes.get_xlabel() for axes in figure.axes)
    assert figure.axes[0].get_ylabel()


def test_memorisation_ablation__lines_are_means_over_orders_and_seeds(results):
    runs = runs_for(results, "memorisation_ablation")
    figure = functions_of("memorisation_ablation")[0](results, runs)

    line = figure.axes[0].get_lines()[0]
    names = [n.name for n in default_networks() if n.spec.dataset.corruption == 0][:2]
    rows = results.curves.sel(run=names, order=[f"random-{i}" for i in range(4)])
    expected = rows["accuracy"].mean(["run", "order"])
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert figure.axes[0].get_xlabel() == "units ablated (share of 48)"
    assert figure.axes[0].get_ylabel() == "train accuracy"


def test_memorisation_finding__numbers_are_the_tables(results):
    runs = runs_for(results, "memorisation_ablation")
    finding = functions_of("memorisation_ablation")[1](results, runs)
    auc = results.runs.isel(run=range(6)).groupby("corruption").mean()["auc"].values

    assert f"({', '.join(f'{value:.2f}' for value in auc)})" in finding


def test_auc_finding__is_pearsons_correlation(results):
    runs = runs_for(results, "auc_test_accuracy")
    finding = functions_of("auc_test_accuracy")[1](results, runs)
    shown = results.runs.sel(run=runs)
    r = np.corrcoef(shown["auc"], shown["test_accuracy"])[0, 1]

    assert f"r = {r:.2f}" in finding


@pytest.mark.parametrize(
    "name",
    [
        "memorisation_ablation",
        "memorisation_noise",
        "batch_norm_ablation",
        "batch_norm_selectivity",
        "batch_norm_information",
        "selectivity_importance",
        "selectivity_l1_norm",
        "auc_test_accuracy",
        "selectivity_depth",
        "importance_depth",
        "class_damage",
        "measure_agreement",
        "information_importance",
        "l1_norm_importance",
        "measure_orders",
    ],
)
def test_figure__copes_with_a_single_network(one_seed, name):
    runs = [str(run) for run in one_seed.runs["run"].values]
    draw, tell = functions_of(name)

    draw(one_seed, runs).draw_without_rendering()
    assert "nan" not in tell(one_seed, runs)


def test_same_data_curves__are_of_the_networks_of_least_and_largest_error(results):
    runs = runs_for(results, "same_data_curves")
    figure = functions_of("same_data_curves")[0](results, runs)

    ranked = results.runs.sel(run=runs).sortby("test_accuracy", ascending=False)["run"].values
    lines = figure.axes[0].get_lines()
    for line, names in zip(lines, (ranked[:3], ranked[-3:]), strict=False):  # a quarter of 12
        rows = results.curves.sel(run=names, order=[f"random-{i}" for i in range(4)])
        np.testing.assert_allclose(line.get_ydata(), rows["accuracy"].mean(["run", "order"]))


def test_same_data__is_of_one_data_set_and_of_labels_as_they_are(results, one_seed, tmp_path):
    corrupted = [str(run) for run in one_seed.runs["run"].values]
    runs = runs_for(results, "memorisation_ablation")
    finding = functions_of("same_data_auc")[1](results, runs)
    two = [network(("two",), dataset=name) for name in ("mnist5k", "digits")]
    mixed = open_results(write_results(tmp_path, two))

    # Four of the six networks are trained on permuted labels.
    assert finding.startswith("2 networks trained on the same data cannot")
    with pytest.raises(TableError, match=r"needs two networks of uncorrupted labels .* has 0"):
        functions_of("same_data_auc")[0](one_seed, corrupted)
    with pytest.raises(TableError, match="its runs were trained on digits and mnist5k"):
        functions_of("same_data_auc")[0](mixed, [made.name for made in two])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two networks, one of each of two data sets."""
    two = [network(("two",), dataset=name) for name in ("mnist5k", "digits")]
    return open_results(write_results(tmp_path_factory.mktemp("mixed"), two))


@pytest.mark.parametrize(
    "name",
    [
        "selectivity_importance",
        "selectivity_l1_norm",
        "information_importance",
        "l1_norm_importance",
        "class_damage",
        "measure_agreement",
    ],
)
def test_units_of_two_data_sets__are_never_drawn_or_told_together(mixed, name):
    draw, tell = functions_of(name)
    runs = {
        str(spec): str(run)
        for run, spec in zip(mixed.runs.run.values, mixed.runs.dataset.values, strict=True)
    }
    figure = draw(mixed, list(runs.values()))

    alone = {dataset: draw(mixed, [run]) for dataset, run in runs.items()}
    assert [band.get_suptitle() for band in figure.subfigs] == ["digits", "mnist5k"]
    for band in figure.subfigs:
        (own,) = alone[band.get_suptitle()].subfigs
        for axes, expected in zip(band.axes, own.axes, strict=True):
            assert axes.dataLim.bounds == pytest.approx(expected.dataLim.bounds)
            written = [[text.get_text() for text in of.texts] for of in (axes, expected)]
            assert written[0] == written[1]  # a matrix of correlations
    told = [f"{dataset}: {tell(mixed, [runs[dataset]])}" for dataset in ("digits", "mnist5k")]
    assert tell(mixed, list(runs.values())) == " ".join(told)


def test_hyperparameter_selection__needs_settings(results):
    runs = runs_for(results, "memorisation_ablation")
    with pytest.raises(TableError, match=r"needs runs of at least 4 settings .* its runs have 3"):
        functions_of("hyperparameter_selection")[0](results, runs)


def test_clamping__lines_are_of_the_random_orders_of_each_value(results, varied):
    runs = runs_for(results, "bases")
    expected = results.runs.sel(run=runs).groupby("corruption").mean()["auc"].values
    for name, scales in (("clamping", (1, 0.5)), ("bases", (1, 0.8, 0.7))):
        figure = functions_of(name)[0](varied, runs)
        told = functions_of(name)[1](varied, runs)

        for axes, auc in zip(figure.axes, expected, strict=True):  # a panel a corruption level
            lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
            areas = [np.trapezoid(line.get_ydata(), line.get_xdata()) for line in lines]
            np.testing.assert_allclose(areas, auc * np.array(scales))
        assert f"{expected[0]:.2f} (" in told


def test_measure_orders__draws_up_and_down_beside_random(results):
    runs = runs_for(results, "bases")
    figure = functions_of("measure_orders")[0](results, runs)

    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    names = [n.name for n in default_networks() if n.spec.dataset.corruption == 0][:2]
    for label, order in (
        ("selectivity, down", "selectivity-descending"),
        ("selectivity, up", "selectivity-ascending"),
    ):
        rows = results.curves.sel(run=names, order=order)["accuracy"].mean("run")
        np.testing.assert_allclose(lines[label].get_ydata(), rows)
    assert "random orders" in lines


def test_early_stopping__costs_are_those_of_the_kept_epochs(results):
    runs = runs_for(results, "early_stopping")
    finding = functions_of("early_stopping")[1](results, runs)
    kept = results.checkpoints.runs
    last = results.runs.sel(run=kept["run"].values[0])
    auc = np.append(kept["auc"], last["auc"])
    accuracy = np.append(kept["test_accuracy"], last["test_accuracy"])
    loss = np.append(kept["test_loss"], last["test_loss"])

    best = accuracy.max()
    assert f"the first stop costs {best - accuracy[auc.argmax()]:.3f} of" in finding
    assert f"the second {best - accuracy[loss.argmin()]:.3f}, and" in finding
    assert f"training to the end {best - accuracy[-1]:.3f}." in finding


@pytest.fixture(scope="module")
def normed_mlps(tmp_path_factory):
    """Return the results of MLPs with and without batch norm, and their runs."""
    directory = tmp_path_factory.mktemp("normed")
    made = [
        network(("only",), **MLP, batch_norm=flag, seed=seed)
        for flag in (True, False)
        for seed in (0, 1)
    ]
    return open_results(write_results(directory, made)), [one.name for one in made]


@pytest.mark.parametrize(
    "name", ["batch_norm_ablation", "batch_norm_selectivity", "batch_norm_information"]
)
def test_batch_norm__of_mlps(normed_mlps, name):
    results, runs = normed_mlps
    draw, tell = functions_of(name)

    figure = draw(results, runs)

    figure.draw_without_rendering()
    shown = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert "no batch norm" in shown
    assert "nan" not in tell(results, runs)
    if name == "batch_norm_ablation":
        with_it, without = figure.axes[0].get_lines()[:2]
        flags = results.runs["batch_norm"].values
        for line, flag in ((with_it, 1), (without, 0)):
            own = random_orders(results.curves.isel(run=np.flatnonzero(flags == flag)))
            expected = own["accuracy"].mean(["run", "order"]).values
            np.testing.assert_allclose(line.get_ydata(), expected)


LOOKS = (0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8)


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """Return the results of a network that was kept inside of epochs, and the run."""
    directory = tmp_path_factory.mktemp("looked")
    made = network(("only",), corruption=0.5, kept=LOOKS)
    return open_results(write_results(directory, [made])), made.name


@pytest.mark.parametrize("name", ["auc_over_training", "early_stopping"])
def test_training_course__has_points_inside_of_epochs(looked, name):
    results, run = looked
    kept = results.checkpoints.runs

    figure = functions_of(name)[0](results, [run])

    upper, losses, *_ = figure.axes
    (auc,) = (line for line in upper.get_lines() if line.get_xdata().size)
    assert auc.get_xdata().tolist() == [*LOOKS, 12]
    np.testing.assert_array_equal(auc.get_ydata()[:-1], kept["auc"].values)
    train, test = (line for line in losses.get_lines() if line.get_xdata().size)
    assert test.get_xdata().tolist() == sorted({*LOOKS, *range(13)})
    for line, column in ((train, "train_loss"), (test, "test_loss")):
        drawn = dict(zip(line.get_xdata().tolist(), line.get_ydata().tolist(), strict=True))
        assert [drawn[look] for look in LOOKS] == kept[column].values.tolist()
    if name == "early_stopping":
        figure.draw_without_rendering()
        ticks = [label.get_text() for label in figure.axes[2].get_xticklabels()]
        assert ticks == ["0", "1", "2", "3", "4", "6", "8", "12"]


def test_early_stopping__without_the_untrained_network_has_no_losses_of_it(looked):
    opened, run = open_results(looked[0].directory), looked[1]
    opened.checkpoints.runs = opened.checkpoints.runs.isel(run=slice(1, None))

    losses = functions_of("early_stopping")[0](opened, [run]).axes[1]

    train, test = (line for line in losses.get_lines() if line.get_xdata().size)
    assert test.get_xdata()[0] == train.get_xdata()[0] == 0.25
    highest = opened.checkpoints.runs["test_loss"].values[0]
    assert losses.get_ylim()[1] < 1.2 * highest


def test_training_course__names_parts_of_epochs(looked):
    results, run = looked
    kept = results.checkpoints.runs
    best = kept["epoch"].values[np.argmax(kept["auc"].values)]

    told = functions_of("auc_over_training")[1](results, [run])
    changes = functions_of("selectivity_over_training")[1](results, [run])

    assert f"AUC is largest after epoch {best:g} (" in told
    assert "From epoch 0.25 to epoch 12 the mean" in changes


def test_many_networks__have_no_legend_of_their_own(results):
    runs = runs_for(results, "same_data_auc")
    for name in ("same_data_auc", "same_data_curves", "hyperparameter_selection"):
        figure = functions_of(name)[0](results, runs)

        assert len(figure.legends[0].get_texts()) <= 4


def test_figures__of_variants_need_them(one_seed):
    runs = [str(run) for run in one_seed.runs["run"].values]
    for name, kind in (("clamping", "value"), ("bases", "basis")):
        with pytest.raises(TableError, match=f"{name} needs curves of several kinds of `{kind}`"):
            functions_of(name)[0](one_seed, runs)
    with pytest.raises(TableError, match=r"regulariser needs runs of two strengths"):
        functions_of("regulariser")[0](one_seed, runs)


def test_figure__names_itself_and_what_is_missing(one_seed, bare):
    runs = [str(run) for run in one_seed.runs["run"].values]
    with pytest.raises(TableError, match=r"dropout_ablation needs a run .* trained with dropout"):
        functions_of("dropout_ablation")[0](one_seed, runs)
    with pytest.raises(TableError, match=r"auc_over_training cannot be drawn: .* kept epochs"):
        functions_of("auc_over_training")[0](one_seed, runs)
    runs = [str(run) for run in bare.runs["run"].values]
    for name in FIGURES:
        for function in functions_of(name):
            with pytest.raises(TableError, match=f"^the figure {name} ") as refusal:
                function(bare, runs)
            assert refusal.type is UndrawnFigureError


def test_draw_figures__refuses_unknown_names(results, tmp_path):
    with pytest.raises(TableError, match="no figure 'memorisation'; "):
        draw_figures(results.directory, {"memorisation": ("memorisation",)}, tmp_path)
    with pytest.raises(TableError, match=r"experiment 'memorization'.*did you mean 'memorisation'"):
        draw_figures(results.directory, {"memorisation_noise": ("memorization",)}, tmp_path)
    with pytest.raises(TableError, match="is to show the run 'x', which the results lack"):
        functions_of("memorisation_noise")[0](results, ["x"])


def test_many_layers_and_levels__keep_readable(tmp_path):
    networks = [
        network(("deep",), corruption=level, **(MLP | {"widths": [6] * 9}))
        for level in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    results = open_results(write_results(tmp_path, networks))
    runs = [made.name for made in networks]

    scatter = functions_of("selectivity_importance")[0](results, runs)
    curves = functions_of("memorisation_ablation")[0](results, runs)

    assert len(scatter.subfigs[0].legends[0].get_texts()) == 2  # the first and the last layer
    assert len({line.get_color() for line in curves.axes[0].get_lines()}) == 7


def test_layers_with_an_underscore__stand_in_the_legend(results, monkeypatch):
    from unitlens.figures import scatter

    monkeypatch.setattr(scatter, "layer_names", lambda _: {0: "_swish", 1: "_blocks.0._swish"})
    runs = [run for run in results.runs.run.values.tolist() if "mlp" in run]
    figure = functions_of("selectivity_importance")[0](results, runs)

    texts = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert texts == ["_swish", "_blocks.0._swish"]


def test_groups__are_named_by_what_tells_them_apart(results):
    names = [made.name for made in default_networks()]
    groups = group_runs(results.runs.sel(run=names))

    assert [group.label for group in groups] == [
        "convnet, no batch norm",
        "convnet, batch norm",
        "mlp, corruption 0, no dropout",
        "mlp, corruption 0, dropout 0.2",
        "mlp, corruption 0.5, no dropout",
        "mlp, corruption 1, no dropout",
        "mlp, corruption 1, dropout 0.2",
    ]
    assert [len(group.runs) for group in groups] == [1, 1, 2, 1, 2, 2, 1]


def test_groups_of_several_data_sets__are_named_by_what_differs_in_their_own(tmp_path):
    step = {"name": "step", "milestones": [1, 2]}
    networks = [
        *(
            network(("sweep",), dataset="digits", training={"learning_rate": rate})
            for rate in (0.1, 0.2)
        ),
        *(
            network(("sweep",), training={"schedule": step, "stop": {"train_accuracy": share}})
            for share in (0.5, 0.75)
        ),
    ]
    groups = group_runs(open_results(write_results(tmp_path, networks)).runs)

    assert [group.label for group in groups] == [
        "digits, rate 0.1",
        "digits, rate 0.2",
        "mnist5k, training.stop.train_accuracy=0.5",
        "mnist5k, training.stop.train_accuracy=0.75",
    ]


def test_groups__that_lack_the_settings_of_others_are_never_called_all(tmp_path):
    stop = {"train_accuracy": 0.5}
    networks = [
        network(("sweep",), training={"momentum": 0.5, **more}) for more in ({}, {"stop": stop})
    ]
    groups = group_runs(open_results(write_results(tmp_path, networks)).runs)

    assert [group.label for group in groups] == ["without", "training.stop.train_accuracy=0.5"]
