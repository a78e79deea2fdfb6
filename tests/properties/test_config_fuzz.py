"""A configuration is accepted or refused in one printable line, whatever stands in it."""

import copy
import json
import os
import time
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitlens.config.reading import parse_config, read_config
from unitlens.errors import ConfigError
from unitlens.planning.plan import make_plan

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "config.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]
TEXTS = [file.read_bytes() for file in FILES if "2core" not in file.name]
VALUES = [yaml.safe_load(text) for text in TEXTS]
EXAMPLES = 10_000 if os.environ.get("UNITLENS_FAULTS") == "all" else 300
# Embeddings, overrides and isolates of the direction of writing.
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
SECONDS = 5  # of the processor, for one configuration
FUZZ = settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

# What YAML or a reader of values is known to stumble over, between two other bytes of a file.
SNIPPETS = [
    *(b"\xe9", b"\x00", b"\t", b"\x1b[2J", "\u202e".encode(), b"\xff\xfe", b"\r", b"\x85"),
    *(b"2001-02-30", b"2001-02-03", b"9" * 5000, b"[" * 3000, b"{" * 200, b"- " * 100),
    *(b"!!timestamp foo", b'!!int ""', b"!!python/object:os.system x", b"!!binary x", b"!!set {a}"),
    *(b"&a [*a, *a]", b"*mlp_training", b"<<: *mlp_training\n", b"<<: 3\n", b"? [a]\n: b\n"),
    *(b"1e-3", b"010", b"1:30", b"no", b".nan", b"-.inf", b"1e999", b"0x1F", b"~", b"''", b"-1"),
    *(b"\n---\n", b"...\n", b"%YAML 1.1\n", b'"\\ud800"', b"'", b'"', b"|\n", b">\n", b": ", b"#"),
    *(b"results: '~/x'\n", b"results: s3://b/c\n", b"results: ''\n", b"seeds: [1, 1]\n"),
    *(b"exclude: [{seed: 1}]\n", b"only: [memorisation]\n", b"x" * 300, "größe".encode()),
]


@st.composite
def damaged_texts(draw):
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from([0, 0, 1, 3, 10, 60]))
        new = draw(
            st.one_of(
                st.sampled_from(SNIPPETS),
                st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
                st.sampled_from([b"", b"\n", b" ", b"0", b"a"]),
                st.integers(0, len(text)).map(lambda at, text=text: text[at : at + 40]),
            )
        )
        text = text[:start] + new + text[start + length :]
    return text


TEXTS_AT_A_LIMIT = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl"]), max_size=5),
    st.sampled_from(["", "~", "/", "s3://b", "a" * 5000, "{x}", "subprocess:call", "x:y", "1e-3"]),
    st.sampled_from(
        ["mlp", "convnet", "digits", "cifar10", "test", "all", "mean", "torchvision:x"]
    ),
)
NUMBERS = st.one_of(st.integers(0, 3), st.integers(), st.integers(10**20, 10**4000), st.floats())
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS_AT_A_LIMIT)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
ADDED = {
    "exclude": [[], [{"seed": 1}], [{"dataset.corruption": 1}], [{}], [{"seed": 9, "x": 1}]],
    "sweep": [{}, {"seed": [1]}, {"model": [{"name": "mlp"}]}, {"training.epochs": [1, 1, "2"]}],
    "failed_runs": ["stop", "skip", None],
    "seeds": [[0], [0, 0], [-1], ["3"], [10**300], list(range(50))],
    "measurements": [{}, {"unit_ablation": None}, {"measures": None}, None],
    "arguments": [{}, {"x": [1e400]}, {"x": None}],
}


def like(value):
    """Return a strategy of values that are of the kind of a value, most of the time."""
    if isinstance(value, bool):
        kind = st.booleans()
    elif isinstance(value, int | float):
        kind = NUMBERS
    elif isinstance(value, str):
        kind = TEXTS_AT_A_LIMIT
    elif isinstance(value, list) and value:
        kind = st.lists(st.sampled_from(value), max_size=2 * len(value))
    else:
        kind = st.just(value)
    return st.one_of(kind, kind, kind, ANYTHING)


@st.composite
def damaged_values(draw):
    values = copy.deepcopy(draw(st.sampled_from(VALUES)))
    for _ in range(draw(st.integers(1, 3))):
        place = values
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or draw(st.integers(0, 5)) == 0:
                place[key] = draw(like(place[key]))
                break
            if isinstance(place[key], dict) and draw(st.integers(0, 5)) == 0:
                added = draw(st.sampled_from(sorted(ADDED)))
                place[key][added] = copy.deepcopy(draw(st.sampled_from(ADDED[added])))
                break
            if isinstance(place, dict) and draw(st.integers(0, 5)) == 0:
                place[draw(TEXTS_AT_A_LIMIT)] = place.pop(key)
                break
            place = place[key]
    return values


def check(read):
    """Hold that a configuration is planned as JSON, or refused as a refusal must be, in time."""
    start = time.process_time()
    try:
        plan = make_plan(read())
        json.dumps([run.spec.model_dump(mode="json") for run in plan.runs.values()])
    except ConfigError as refused:
        message = str(refused)
        assert not {unicodedata.category(c) for c in message} & {"Cc", "Cs", "Zl", "Zp"}
        assert not {unicodedata.bidirectional(c) for c in message} & TURNING
        assert 0 < len(message) <= 1000
    assert time.process_time() - start < SECONDS


@pytest.mark.slow
@FUZZ
@given(text=damaged_texts())
def test_damaged_text__is_read_or_refused_in_one_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_bytes(text)

    check(lambda: read_config(path))


@FUZZ
@given(values=damaged_values())
def test_damaged_values__are_taken_or_refused_in_one_line(values):
    check(lambda: parse_config(values))
