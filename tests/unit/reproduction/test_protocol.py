"""The protocol of a comparison: its page, and what its hash depends on."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unitlens.cli.main import app
from unitlens.config.reading import parse_config, read_config
from unitlens.reproduction import run_protocol
from unitlens.reproduction.claim_types import READING_ERROR
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.protocol_page import protocol_page
from unitlens.reproduction.run_protocol import populations, protocol_hash

ROOT = Path(__file__).parents[3]
PRESET = ROOT / "presets/paper-2core.yaml"
CONFIG = {
    "experiments": {
        "a": {
            "dataset": {"name": "mnist"},
            "model": {"name": "mlp"},
            "training": {"epochs": 3},
            "sweep": {"dataset.corruption": [0, 1]},
            "seeds": [1, 2, 3],
        },
        "extra": {
            "dataset": {"name": "mnist"},
            "model": {"name": "mlp"},
            "training": {"epochs": 9},
        },
    },
    "paper": {"mnist_ablation": ["a"]},
}


def changed(*path, to):
    """Return the configuration with another value at the end of a path of keys."""
    values = dict(CONFIG)
    node = values
    for key in path[:-1]:
        node[key] = dict(node.get(key, {}))
        node = node[key]
    node[path[-1]] = to
    return parse_config(values)


def test_page_of_the_documentation__is_what_the_command_prints():
    """Write it again with: python -m unitlens protocol presets/paper-2core.yaml."""
    printed = CliRunner().invoke(app, ["protocol", str(PRESET)]).stdout

    assert (ROOT / "docs/protocol.md").read_text() == printed


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("experiments", "a", "seeds"), [1, 2, 4]),
        (("experiments", "a", "training", "epochs"), 4),
        (("experiments", "a", "training", "checkpoints"), [1]),
        (("experiments", "a", "sweep", "dataset.corruption"), [0, 0.5]),
        (("experiments", "a", "measurements", "cumulative_ablation"), {"orders": 11}),
        (("measurements", "activations"), {"reduce": "max"}),
        (("paper", "mnist_noise"), ["a"]),
        (("paper", "mnist_ablation"), ["a", "extra"]),
    ],
)
def test_hash__changes_with_networks_and_measurements(path, to):
    assert protocol_hash(changed(*path, to=to)) != protocol_hash(parse_config(CONFIG))


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("results",), "elsewhere"),
        (("figures", "memorisation_ablation"), ["a"]),
        (("experiments", "extra", "training", "epochs"), 7),
        (("suspected_causes", "mnist_ablation"), {"extra": "longer training"}),
        (("measurements", "activations"), {"batch_size": 10}),
    ],
)
def test_hash__does_not_change_with_what_changes_no_result_of_the_paper(path, to):
    assert protocol_hash(changed(*path, to=to)) == protocol_hash(parse_config(CONFIG))


def test_hash__changes_with_rule_and_claims(monkeypatch):
    config = parse_config(CONFIG)
    before = protocol_hash(config)

    monkeypatch.setattr(run_protocol, "RULE", run_protocol.RULE.replace(" ", "\n"))
    assert protocol_hash(config) == before  # the same words on other lines
    monkeypatch.setattr(run_protocol, "RULE", "By eye.")
    by_eye = protocol_hash(config)
    group = CLAIM_GROUPS["mnist_ablation"]
    claim = group.claims[0]
    other = replace(claim, finding=replace(claim.finding, error=2 * READING_ERROR))
    monkeypatch.setitem(
        CLAIM_GROUPS, "mnist_ablation", replace(group, claims=(other, *group.claims[1:]))
    )
    assert len({before, by_eye, protocol_hash(config)}) == 3


def test_populations__are_the_compared_experiments():
    found = populations(parse_config(CONFIG))

    assert list(found) == ["a"]
    assert len(set(found["a"].networks)) == 6
    assert found["a"].groups == ("mnist_ablation",)


def test_page__has_each_claim_and_population():
    config = read_config(PRESET)
    text = protocol_page(config)

    assert protocol_hash(config) in text
    for group in CLAIM_GROUPS.values():
        for claim in group.claims:
            assert f" | {claim.quantity} | " in text
    for name, population in populations(config).items():
        seeds = ", ".join(map(str, population.family.seeds))
        assert f"| `{name}` | {len(population.networks)} | {seeds} | " in text
