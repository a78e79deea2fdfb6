"""What YAML would take in silence for something else is refused, and the remedy works."""

import json
import time

import pytest

from unitlens.config.reading import check_config_files, read_config
from unitlens.config.yaml_files import read_yaml
from unitlens.errors import ConfigError

BASE = """\
results: r
experiments:
  e:
    dataset: {name: digits}
    model: {name: mlp, widths: [8]}
    training: {epochs: 1}
"""
OWN = "experiments: {e: {dataset: {name: digits}, model: {name: 'm:f', arguments: {a: VALUE}}}}\n"


def own(value):
    return OWN.replace("VALUE", value)


# What stands in the file; what the refusal says; what the file is after its remedy was followed.
REMEDIES = {
    "key twice": (
        BASE + "    seeds: [0]\n    seeds: [5]\n",
        "line 8: the key 'seeds' stands on line 7 already",
        BASE + "    seeds: [0]\n",
    ),
    "experiment twice": (
        BASE + BASE.partition("experiments:\n")[2],
        "line 7: the key 'e' stands on line 3 already",
        BASE + BASE.partition("experiments:\n")[2].replace("  e:", "  f:"),
    ),
    "key twice in quotes": (BASE + "'results': s\n", "the key 'results' stands on", BASE),
    "two merges": (
        BASE.replace("{epochs: 1}", "{<<: {epochs: 1}, <<: {momentum: 0}}"),
        "line 6: the key '<<' stands on line 6 already",
        BASE.replace("{epochs: 1}", "{<<: [{epochs: 1}, {momentum: 0}]}"),
    ),
    "tab": (BASE.replace("  e:", "\te:"), "indent with spaces, not with tabs", BASE),
    "not UTF-8": (
        (BASE + "# größe\n").encode("latin-1"),
        "line 7: byte 0xf6 is not UTF-8; save the file as UTF-8",
        (BASE + "# größe\n").encode("utf-8"),
    ),
    "NUL": (BASE + "# \0\n", "character U+0000 at position", BASE),
    "date that is none": (own("2001-02-30"), "is read as a date; write it in quotes", own("'x'")),
    "date": (own("2001-02-03"), "is read as a date; write it in quotes", own("'2001-02-03'")),
    "tag without a date": (own("!!timestamp foo"), "is read as a date", own("'foo'")),
    "empty number": (own('!!int ""'), "without its !!tag", own('""')),
    "5,000 digits": (own("9" * 5000), "write the value in quotes", own(f"'{'9' * 50}'")),
    "object": (own("!!python/object:os.system x"), "remove the tag", own("x")),
    "function": (own("!!python/object/apply:os.system [x]"), "remove the tag", own("[x]")),
    "set": (own("!!set {a, b}"), "remove the tag", own("[a, b]")),
    "open brackets": (own("[" * 3000), "is nested too deep to be read; close", own("[]")),
    "closed brackets": (own("[" * 60 + "]" * 60), "nested more than 50 deep", own("[[]]")),
    "cycle": (own("&x [*x]"), "an anchor refers to itself", own("[]")),
    "undefined anchor": (own("*x"), "found undefined alias", own("x")),
    "two documents": (BASE + "---\n" + BASE, "leave one document", BASE),
    "octal": (own("010"), "'010' begins with 0", own("10")),
    "octal of a text": (own("007"), "'007' begins with 0", own("'007'")),
    "base 60": (own("1:30"), "'1:30' is read as a number to the base 60", own("90")),
    "exponent": (own("1e-3"), "such as 1.0e-3", own("1.0e-3")),
    "word": (own("no"), "write true or false", own("false")),
    "text that is a word": (own("on"), "in quotes where it is a text", own("'on'")),
    "infinite": (own(".inf"), "is no finite number", own("1.0e+300")),
    "key that is a word": (
        BASE.replace("  e:", "  no:"),
        "line 3: the key 'no' is read as bool, not as text; write it in quotes",
        BASE.replace("  e:", "  'no':"),
    ),
    "key that is a number": (
        BASE.replace("  e:", "  1:"),
        "line 3: the key '1' is read as int, not as text; write it in quotes",
        BASE.replace("  e:", "  '1':"),
    ),
    "key that is a list": (BASE.replace("  e:", "  ? [a]\n  :"), "write a text as key", BASE),
    "list": ("- 1\n", "write keys such as experiments: at its left edge", BASE),
    "empty": ("", "must be a mapping of keys to values, but is NoneType", BASE),
    "value that is a word": (
        BASE.replace("digits", "no"),
        "= False: must not be a truth value; write a number, or a word such as no in quotes",
        BASE,
    ),
    "one value for a list": (
        BASE + "    seeds: 3\n",
        "experiments.e.seeds = 3: must be a list; write it in brackets, as [3]",
        BASE + "    seeds: [3]\n",
    ),
}


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("case", REMEDIES)
def test_read_config__refuses_in_one_line_with_a_remedy_that_works(tmp_path, case):
    text, message, put_right = REMEDIES[case]
    path = write(tmp_path / "config.yaml", text)

    with pytest.raises(ConfigError) as refused:
        read_config(path)

    assert message in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) <= 1000
    assert read_config(write(path, put_right)).experiments


@pytest.mark.parametrize("case", ["key twice", "octal", "exponent", "not UTF-8"])
def test_check_config_files__refuses_what_the_values_do_not_show(tmp_path, case):
    text, message, put_right = REMEDIES[case]
    whole = write(tmp_path / "whole.yaml", put_right)
    damaged = write(tmp_path / "damaged.yaml", text)

    with pytest.raises(ConfigError) as refused:
        check_config_files([whole, damaged])

    assert "damaged.yaml" in str(refused.value)
    assert message in str(refused.value)


def test_check_config_files__takes_a_file_that_overrides_a_few_keys(tmp_path):
    check_config_files([write(tmp_path / "more.yaml", "results: elsewhere\n")])


def test_read_yaml__merges_and_overrides_as_yaml_does(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {y: 4, <<: [*a, {z: 5}]}\n"

    values = read_yaml(write(tmp_path / "a.yaml", text))

    assert values["b"] == {"x": 1, "y": 3}
    assert values["c"] == {"x": 1, "y": 4, "z": 5}


def test_read_yaml__bounds_what_anchors_stand_for(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    path = write(tmp_path / "laughs.yaml", "\n".join(lines))

    start = time.process_time()
    with pytest.raises(ConfigError, match="anchors stand for more than 1,000,000 values"):
        read_yaml(path)
    assert time.process_time() - start < 2


def test_read_config__takes_a_typed_number_as_it_is_meant(tmp_path):
    text = BASE.replace("{epochs: 1}", "{epochs: 1, learning_rate: 1e-3}")

    config = read_config(write(tmp_path / "config.yaml", text))

    assert config.experiments["e"].training.learning_rate == 0.001


@pytest.mark.parametrize("name", ["nowhere.yaml", "", "nul\0.yaml", "a" * 300])
def test_read_config__names_a_file_that_it_cannot_read(tmp_path, name):
    with pytest.raises(ConfigError, match=r"cannot be read: .*; name an existing file") as refused:
        read_config(tmp_path / name)

    assert str(refused.value).isprintable()


def test_read_yaml__takes_json(tmp_path):
    values = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}}

    assert read_yaml(write(tmp_path / "a.json", json.dumps(values))) == values
