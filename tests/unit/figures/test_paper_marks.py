"""The paper's numbers stand in the figures of what is compared with them, and nowhere else."""

import inspect
import json

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer
from typer.testing import CliRunner

from synthetic_results import KEPT, network, write_results
from unitlens.analysis.correlations import pearson, spearman
from unitlens.catalogue.figures import FIGURES
from unitlens.cli.main import app
from unitlens.errors import TableError
from unitlens.figures.draw import draw_figures, functions_of, runs_of
from unitlens.figures.paper_marks import PAPER, PAPER_CAPTION, paper_numbers, shows_paper
from unitlens.reproduction.claim_types import ReportedNumber
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.tables.results import open_results

# Figure: the experiment that it shows, and the group that the experiment is compared with.
SHOWN = {
    "memorisation_ablation": ("labels", "mnist_ablation"),
    "memorisation_noise": ("labels", "mnist_noise"),
    "batch_norm_ablation": ("batch_norm", "batch_norm_ablation"),
    "batch_norm_selectivity": ("batch_norm", "batch_norm_selectivity"),
    "batch_norm_information": ("batch_norm", "batch_norm_information"),
    "selectivity_importance": ("batch_norm", "cifar10_importance"),
    "same_data_curves": ("sweep", "same_data"),
    "hyperparameter_selection": ("sweep", "hyperparameter_selection"),
    "auc_over_training": ("course", "early_stopping"),
    "early_stopping": ("course", "early_stopping"),
}
# Groups whose numbers belong to no axis of their figures: a loss taken as 0, for "flat".
WITHOUT_MARKS = {"dropout"}
DEEP = {"name": "convnet", "channels": [12] * 11, "strides": [1] * 11}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    networks = [
        *(network(("labels",), corruption=level) for level in (0.0, 0.2, 0.5, 1.0)),
        *(network(("batch_norm",), **DEEP, batch_norm=flag) for flag in (True, False)),
        *(
            network(("sweep",), training={"learning_rate": rate}, seed=3)
            for rate in np.geomspace(0.001, 0.09, 12).tolist()
        ),
        *(network(("course",), seed=seed, kept=KEPT) for seed in (4, 5)),
        network(("own",), seed=6, dataset="digits"),
    ]
    return open_results(write_results(tmp_path_factory.mktemp("paper"), networks))


def draw(results, name, paper, experiments=None):
    experiments = experiments or SHOWN[name][:1]
    numbers = paper_numbers(results, name, experiments, paper)
    return functions_of(name)[0](results, runs_of(results, experiments, name), paper=numbers)


def diamonds(figure):
    """Return axes, place, and ends of the bar of each mark of the paper."""
    marks = []
    for axes in figure.axes:
        for one in axes.containers:
            if isinstance(one, ErrorbarContainer) and one.lines[0].get_marker() == "D":
                data, _, (bars,) = one.lines
                for x, y in data.get_xydata().tolist():
                    (segment,) = bars.get_segments()
                    marks.append((axes, x, y, np.asarray(segment)))
    return marks


def claimed(group):
    """Return the numbers of a group, by the names of their claims."""
    return {
        claim.name: claim.finding
        for claim in PAPER_CLAIMS[group].claims
        if isinstance(claim.finding, ReportedNumber)
    }


def places(figure, along):
    """Return the coordinate that the paper reports of each mark, having checked its bar."""
    found = []
    for _, x, y, bar in diamonds(figure):
        at = x if along == 0 else y
        half = (bar[1, along] - bar[0, along]) / 2
        found.append((at, half, y if along == 0 else x))
        assert bar[:, 1 - along].tolist() == [y if along == 0 else x] * 2
        assert bar[:, along].mean() == pytest.approx(at)
    return found


def own(numbers, names, others):
    """Return value, error and other coordinate of claims, as `places` does."""
    return [
        pytest.approx((numbers[name].value, numbers[name].error, other))
        for name, other in zip(names, others, strict=True)
    ]


def test_mean_over_the_range__stands_beside_ours_by_level(results):
    figure = draw(results, "memorisation_ablation", {"mnist_ablation": ["labels"]})

    numbers = claimed("mnist_ablation")
    levels = (0, 0.2, 1)  # the paper has no .5
    names = [f"corruption {level:g}" for level in levels]
    assert places(figure, 1) == own(numbers, names, levels)
    curves, strip = figure.axes
    assert {axes for axes, *_ in diamonds(figure)} == {strip}
    scattered = [of for of in strip.collections if isinstance(of, PathCollection)]
    dots = np.concatenate([of.get_offsets() for of in scattered])
    runs = results.runs.sel(run=runs_of(results, ["labels"], "x")).sortby("corruption")
    np.testing.assert_allclose(dots, np.stack([runs["corruption"], runs["auc"]], 1))
    assert curves.get_ylim() == strip.get_ylim()


def test_noise__is_at_half_accuracy_in_the_colour_of_its_level(results):
    figure = draw(results, "memorisation_noise", {"mnist_noise": ["labels"]})

    numbers = claimed("mnist_noise")
    names = ["corruption 0.2", "corruption 1"]
    assert places(figure, 0) == own(numbers, names, [0.5, 0.5])
    (axes,) = figure.axes
    lines = {line.get_label().split(" ")[0]: line for line in axes.get_lines()}
    faces = [
        one.lines[0].get_markerfacecolor()
        for one in axes.containers
        if one.lines[0].get_xdata().size
    ]
    assert faces == [lines["0.2"].get_color(), lines["1"].get_color()]


def test_batch_norm__numbers_of_maps_are_shares(results):
    figure = draw(results, "batch_norm_ablation", {"batch_norm_ablation": ["batch_norm"]})

    maps = (400, 800, 1200)
    expected = [(f"{kind}-{count}", count / 1536) for kind in ("without", "with") for count in maps]
    numbers = claimed("batch_norm_ablation")
    assert places(figure, 1) == own(numbers, *zip(*expected, strict=True))


@pytest.mark.parametrize("name", ["batch_norm_selectivity", "batch_norm_information"])
def test_mode__is_over_the_distributions(results, name):
    figure = draw(results, name, {name: ["batch_norm"]})

    ((_, at, _, bar),) = diamonds(figure)
    mode = claimed(name)["mode"]
    assert at == mode.value
    assert bar[:, 0].tolist() == list(mode.reading)


def test_half_ablated__is_a_share_at_half_accuracy(results):
    figure = draw(results, "same_data_curves", {"same_data": ["sweep"]})

    assert places(figure, 0) == own(claimed("same_data"), ["best", "worst"], [0.5, 0.5])


def test_correlations__stand_by_layer_and_over_all_units(results):
    figure = draw(results, "selectivity_importance", {"cifar10_importance": ["batch_norm"]})

    names = [f"layer-{place}" for place in range(1, 12)]
    found = places(figure, 1)
    assert found[:-1] == own(claimed("cifar10_importance"), names, range(11))
    whole, _, place = found[-1]
    assert whole == claimed("cifar10_importance")["all"].value
    side = diamonds(figure)[0][0]
    assert side.get_xticklabels()[-1].get_text() == "all"
    assert side.get_xticks()[-1] == place > 10
    dots = [of.get_offsets() for of in side.collections if isinstance(of, PathCollection)]
    ours = sorted(dot[1] for of in dots for dot in np.asarray(of) if dot[0] == place)
    units = results.units
    expected = []
    for run in runs_of(results, ["batch_norm"], "x"):
        of_run = units.isel(unit=np.flatnonzero(units["run"].values == run))
        expected.append(spearman(of_run["selectivity"].values, of_run["loss_increase"].values))
    assert ours == pytest.approx(sorted(expected))


def test_correlations_of_layers__need_as_many_layers(results):
    figure = draw(results, "selectivity_importance", {"cifar10_importance": ["labels"]}, ["labels"])

    ((_, _, at, _),) = diamonds(figure)  # two layers, not eleven
    assert at == claimed("cifar10_importance")["all"].value


@pytest.mark.parametrize("name", ["auc_over_training", "early_stopping"])
def test_course__has_a_line_of_correlations(results, name):
    figure = draw(results, name, {"early_stopping": ["course"]})

    assert places(figure, 0) == own(claimed("early_stopping"), ["correlation"], [0])
    strip = figure.axes[-1]
    dots = np.sort(strip.collections[0].get_offsets()[:, 0])
    expected = []
    for run in runs_of(results, ["course"], "x"):
        tables = (results.checkpoints.runs, results.runs)
        rows = [of.isel(run=np.flatnonzero(of["run"].values == run)) for of in tables]
        scores = [np.concatenate([of[key].values for of in rows]) for key in ("auc", "test_loss")]
        expected.append(pearson(*scores))
    np.testing.assert_allclose(dots, np.sort(expected))


def test_selection__has_shares_and_the_correlation(results):
    name = "hyperparameter_selection"
    figure = draw(results, name, {name: ["sweep"]})

    numbers = claimed(name)
    by_axes = {}
    for axes, x, y, bar in diamonds(figure):
        by_axes.setdefault(figure.axes.index(axes), []).append((x, y, bar))
    assert [y for _, y, _ in by_axes[1]] == [numbers["top-1"].value, numbers["top-5"].value]
    ((x, _, bar),) = by_axes[2]
    assert x == numbers["correlation"].value
    assert bar[:, 0].tolist() == list(numbers["correlation"].reading)


@pytest.mark.parametrize("name", SHOWN)
def test_marks__are_of_compared_experiments_only(results, name):
    experiment, group = SHOWN[name]
    elsewhere = {other: [experiment] for other in PAPER_CLAIMS if other != group}
    elsewhere = {
        other: of for other, of in elsewhere.items() if name not in PAPER_CLAIMS[other].figures
    }

    assert shows_paper(draw(results, name, {group: [experiment]}))
    for paper in ({}, {group: ["own"]}, elsewhere):
        figure = draw(results, name, paper)
        assert not shows_paper(figure)
        assert not diamonds(figure)
        assert PAPER not in [text.get_text() for of in figure.legends for text in of.get_texts()]


def test_marks__are_in_the_panel_of_the_compared_experiment(results):
    both = ["own", "labels"]
    figure = draw(results, "memorisation_noise", {"mnist_noise": ["labels"]}, both)

    assert [axes.get_title() for axes in figure.axes] == ["digits", "mnist5k"]
    assert {axes.get_title() for axes, *_ in diamonds(figure)} == {"mnist5k"}


def test_declarations__say_which_functions_take_numbers():
    taking = {
        name for name in FIGURES if "paper" in inspect.signature(functions_of(name)[0]).parameters
    }

    assert taking == {name for name, declared in FIGURES.items() if declared.shows_paper}
    assert taking == set(SHOWN)
    for group in PAPER_CLAIMS:
        if claimed(group) and group not in WITHOUT_MARKS:
            assert taking & set(PAPER_CLAIMS[group].figures), group


def test_record__tells_what_was_compared(results, tmp_path):
    name = "memorisation_noise"
    paper = {"mnist_noise": ["labels"], "same_data": ["sweep"]}

    draw_figures(results.directory, {name: ["labels"]}, tmp_path / "with", paper=paper)
    draw_figures(results.directory, {name: ["labels"]}, tmp_path / "without")

    with_it, without = (
        json.loads((tmp_path / place / "figures.json").read_text()) for place in ("with", "without")
    )
    assert with_it["provenance"]["settings"] == {"figures": {name: ["labels"]}, "paper": paper}
    assert without["provenance"]["settings"]["paper"] == {}
    captions = [of["figures"][0]["caption"] for of in (with_it, without)]
    assert captions == [f"{FIGURES[name].caption} {PAPER_CAPTION}", FIGURES[name].caption]


def test_command__takes_the_section(results, tmp_path):
    figures, paper = {"memorisation_noise": ["labels"]}, {"mnist_noise": ["labels"]}
    options = ["--figures", json.dumps(figures), "--paper", json.dumps(paper)]
    paths = [str(results.directory), str(tmp_path / "figures.json")]

    done = CliRunner().invoke(app, ["draw-figures", *options, *paths])

    assert done.exit_code == 0, done.output
    assert PAPER_CAPTION in (tmp_path / "figures.json").read_text()


def test_unknown_group__is_refused(results, tmp_path):
    with pytest.raises(TableError, match="no results called 'mnist_nois'; did you mean"):
        draw_figures(
            results.directory,
            {"memorisation_noise": ["labels"]},
            tmp_path,
            paper={"mnist_nois": ["labels"]},
        )
