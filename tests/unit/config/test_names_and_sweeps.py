"""Names and directories that cannot work are refused; excluded points leave the sweep."""

import copy
import unicodedata
from pathlib import Path

import pytest

from unitlens.config.reading import parse_config
from unitlens.config.runs import expand_runs
from unitlens.errors import ConfigError

FAMILY = {
    "dataset": {"name": "mnist5k"},
    "model": {"name": "mlp"},
    "training": {"epochs": 5},
    "sweep": {"dataset.corruption": [0, 0.5, 1], "model.dropout": [0, 0.2]},
    "seeds": [1, 2],
}


def with_exclude(*entries, **changes):
    family = {**copy.deepcopy(FAMILY), "exclude": list(entries), **changes}
    return parse_config({"experiments": {"e": family}})


def points(config):
    specs = [run.spec for run in expand_runs(config).values()]
    return [(spec.dataset.corruption, spec.model.dropout, spec.seed) for spec in specs]


ALL = [(c, d, s) for c in (0, 0.5, 1) for d in (0, 0.2) for s in (1, 2)]


@pytest.mark.parametrize(
    ("entries", "out"),
    [
        ([], lambda *_: False),
        ([{"dataset.corruption": 1}], lambda c, *_: c == 1),
        ([{"seed": 2}], lambda *point: point[2] == 2),
        ([{"dataset.corruption": 1.0, "seed": 2}], lambda c, _, s: c == 1 and s == 2),
        (
            [{"dataset.corruption": 0.5, "model.dropout": 0.2}, {"seed": 1, "model.dropout": 0}],
            lambda c, d, s: (c == 0.5 and d == 0.2) or (s == 1 and d == 0),
        ),
    ],
)
def test_exclude__takes_out_the_points_that_match_all_keys_of_an_entry(entries, out):
    assert points(with_exclude(*entries)) == [point for point in ALL if not out(*point)]


def test_exclude__matches_numbers_that_yaml_reads_as_text_and_whole_sections():
    rates = {"training.learning_rate": ["1e-3", 0.1]}
    models = {"model": [{"name": "mlp", "widths": [8]}, {"name": "mlp", "widths": [9]}]}

    by_rate = with_exclude({"training.learning_rate": 0.001}, sweep=rates, seeds=[1])
    by_model = with_exclude({"model": {"name": "mlp", "widths": [8]}}, sweep=models, seeds=[1])

    (rate_run,) = expand_runs(by_rate).values()
    (model_run,) = expand_runs(by_model).values()
    assert rate_run.spec.training.learning_rate == 0.1
    assert model_run.spec.model.widths == (9,)


def test_exclude__does_not_take_true_for_one():
    sweep = {"model.batch_norm": [True, False]}

    with pytest.raises(ConfigError, match="takes out no network"):
        with_exclude({"model.batch_norm": 1}, sweep=sweep)


@pytest.mark.parametrize(
    ("entries", "message", "put_right"),
    [
        (
            [{"dataset.corruptio": 1}],
            "experiments.e.exclude.0 names the key 'dataset.corruptio', which the experiment does "
            "not sweep; did you mean 'dataset.corruption'?",
            [{"dataset.corruption": 1}],
        ),
        ([{"training.epochs": 5}], "which the experiment does not sweep; known: dataset.corr", []),
        (
            [{"seed": 1}, {"dataset.corruption": 0.7}],
            "experiments.e.exclude.1 = {'dataset.corruption': 0.7}: takes out no network",
            [{"seed": 1}],
        ),
        (
            [{"seed": 1}, {"seed": 2}],
            "experiments.e.exclude takes out all 12 networks; remove an entry",
            [{"seed": 1}],
        ),
        ([{}], "experiments.e.exclude.0: dictionary should have at least 1 item", []),
    ],
)
def test_exclude__refuses_in_one_line_with_a_remedy_that_works(entries, message, put_right):
    with pytest.raises(ConfigError) as refused:
        with_exclude(*entries)

    assert message in str(refused.value)
    assert points(with_exclude(*put_right))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [1, 2, 1]}, r"e\.seeds = \[1, 2, 1\]: 1 stands there twice"),
        ({"sweep": {"model.dropout": [0.1, "1e-1"]}}, r"sweep\.model\.dropout = .*twice"),
        ({"sweep": {"model.dropout": ["1e-1", "1.0E-01"]}}, r"sweep\.model\.dropout = .*twice"),
        ({"sweep": {"model.dropout": [0.1, "0.1"]}}, r"dropout: 0\.1 and '0\.1' give one network"),
        ({"sweep": {"model.dropout": [0, 0.0]}}, r"sweep\.model\.dropout = .*twice"),
        (
            {"sweep": {"model": [{"name": "mlp"}, {"name": "mlp", "dropout": 0}]}},
            r"sweep\.model: .* give one network",
        ),
        ({"sweep": {"model.widths": [[8], [8, 8], [8]]}}, r"sweep\.model\.widths = .*twice"),
        ({"sweep": {"model": [{"name": "mlp"}, {"name": "mlp"}]}}, r"sweep\.model = .*twice"),
    ],
)
def test_sweep__refuses_a_value_that_stands_twice(changes, message):
    with pytest.raises(ConfigError, match=f"experiments.*{message}.*remove or change one"):
        points(with_exclude(**changes))


def test_sweep__texts_are_compared_as_texts():
    model = {"name": "mine:build", "arguments": {}}
    kinds = ["01", "1", 1, "1.0", True, "true", "True"]
    config = with_exclude({"model.arguments.kind": "1"}, sweep={"model.arguments.kind": kinds},
                          seeds=[0], model=model)  # fmt: skip

    left = [run.spec.model.arguments["kind"] for run in expand_runs(config).values()]
    expected = ["01", 1, "1.0", True, "true", "True"]
    assert list(map(repr, left)) == list(map(repr, expected))


def test_sweep__refuses_seeds_and_more_networks_than_any_workflow_has():
    with pytest.raises(ConfigError, match="list the seeds in `seeds`"):
        with_exclude(sweep={"seed": [1, 2]})
    axes = {f"model.key{number}": list(range(100)) for number in range(9)}
    with pytest.raises(ConfigError, match="name 2000000000000000000 networks, but an experiment"):
        with_exclude(sweep=axes)


def test_failed_runs__stop_unless_they_are_skipped():
    values = {"experiments": {"e": FAMILY}}

    assert parse_config(values).failed_runs == "stop"
    assert parse_config({**values, "failed_runs": "skip"}).failed_runs == "skip"
    with pytest.raises(ConfigError, match="failed_runs = 'skp': must be one of stop, skip; did"):
        parse_config({**values, "failed_runs": "skp"})


def named(name="e", **keys):
    return parse_config({**keys, "experiments": {name: FAMILY}})


@pytest.mark.parametrize(
    ("name", "message", "put_right"),
    [
        ("", "must not be empty", "e"),
        ("a\0b", "has a control character", "ab"),
        ("a\nb", "has a control character", "a b"),
        ("a\x1b[2J", "has a control character", "a[2J"),
        ("a\u202eb", "turns the direction of writing", "ab"),
        ("a" * 101, "has 101 characters, but may have 100", "a" * 100),
        ("a{run}", "has braces, which Snakemake takes for a wildcard", "a(run)"),
        (" a", "begins or ends with a blank", "a"),
        ("a ", "begins or ends with a blank", "a"),
    ],
)
def test_experiment__has_a_name_that_files_and_rules_can_take(name, message, put_right):
    with pytest.raises(ConfigError) as refused:
        named(name)

    assert message in str(refused.value)
    assert not {unicodedata.category(c) for c in str(refused.value)} & {"Cc", "Zl", "Zp"}
    assert list(named(put_right).experiments) == [put_right]


@pytest.mark.parametrize("name", ["größe", "実験", "a $x$ b$", "it's <b>", "a/b", "no"])
def test_experiment__may_have_other_names(name):
    assert list(named(name).experiments) == [name]


@pytest.mark.parametrize("key", ["results", "data"])
@pytest.mark.parametrize(
    ("path", "message", "put_right"),
    [
        ("", "must not be empty", "results"),
        ("a\0b", "has a control character", "ab"),
        ("a\tb", "has a control character", "a b"),
        (" a", "begins or ends with a blank", "a"),
        ("~/results", "write the path out, as", None),
        ("~", "write the path out, as", None),
        ("s3://bucket/results", "must be a directory of this machine, not a URL", "results"),
        ("file:///results", "must be a directory of this machine, not a URL", "/results"),
        ("/", "must not be the root of the file system", "/results"),
        ("//", "must not be the root of the file system", "/results"),
        ("/a/..", "must not be the root of the file system", "/a"),
        ("a{b}", "has braces, which Snakemake takes for a wildcard", "a(b)"),
        ("a" * 256, "and 255 in one of its names; name a shorter path", "a" * 255),
        ("a/" * 2000, "but may have 3000", "a/" * 200),
        ("é" * 128, "and 255 in one of its names", "é" * 127),
    ],
)
def test_directory__is_one_that_the_workflow_can_write_to(key, path, message, put_right):
    with pytest.raises(ConfigError) as refused:
        named(**{key: path})

    assert str(refused.value).startswith(f"{key} = ")
    assert message in str(refused.value)
    written_out = put_right or str(refused.value).rpartition("as ")[2].strip("'")
    assert getattr(named(**{key: written_out}), key) == written_out
    if put_right is None:
        assert written_out.startswith(str(Path.home()))


def test_run__has_a_name_that_a_file_can_have():
    def with_seed(seed):
        return parse_config({"experiments": {"e": {**FAMILY, "seeds": [seed]}}})

    with pytest.raises(ConfigError, match=r"experiments.e has the network .* shorten dataset.name"):
        with_seed(10**200)
    assert with_seed(10**20)


@pytest.mark.parametrize("name", ["subprocess:call", "os.path:join", "builtins:eval", "unitlens:x"])
def test_function__must_not_be_pythons_own(name):
    message = r"is Python's or unitlens's own, and must be yours; name a function of your own"

    for section, spec in (("model", {"name": name}), ("dataset", {"name": name})):
        with pytest.raises(ConfigError, match=message):
            parse_config({"experiments": {"e": {**FAMILY, "sweep": {}, section: spec}}})
